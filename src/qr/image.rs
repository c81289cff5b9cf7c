//! QR pictures: SVG, PNG and text for a terminal. The only user of `qrcode` and `png`.
//!
//! Dark on white always, with the quiet zone of four modules that ISO/IEC 18004 asks for, and a
//! whole number of pixels per module: a camera reads edges, not greys.

use std::fmt::Write;

use png::{BitDepth, ColorType, Compression, Encoder, Filter};
use qrcode::bits::Bits;
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode, Version};

/// Modules of white on each side.
const QUIET: usize = 4;

/// What a picture measures unless it is asked for otherwise, in pixels.
pub const DEFAULT_SIZE: usize = 480;

/// Sizes that are drawn; what is asked beyond is drawn as the nearest one.
const SIZES: std::ops::RangeInclusive<usize> = 64..=2048;

/// 15 % of the picture may be hidden: enough for a reflection, and the picture stays small.
const LEVEL: EcLevel = EcLevel::M;

/// The text is longer than any QR code holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is longer than a QR code holds")]
pub struct TooLong;

/// A QR code as modules, with its quiet zone.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Modules per side.
    side: usize,
    /// Row by row, whether each is dark.
    dark: Vec<bool>,
}

impl Picture {
    /// A pairing code's link. The code lies in an alphanumeric segment of its own: 5.5 bits a character
    /// instead of 8, so that `https://<25 characters>/s#<code>` fits version 4-M.
    pub fn of_link(origin: &str, code: &str) -> Result<Self, TooLong> {
        Self::smallest(|bits| {
            bits.push_byte_data(super::link(origin, "").as_bytes())?;
            bits.push_alphanumeric_data(code.as_bytes())
        })
    }

    /// Any text.
    pub fn of_text(text: &str) -> Result<Self, TooLong> {
        Self::smallest(|bits| bits.push_byte_data(text.as_bytes()))
    }

    fn smallest(push: impl Fn(&mut Bits) -> Result<(), QrError>) -> Result<Self, TooLong> {
        let drawn = |version| {
            let mut bits = Bits::new(Version::Normal(version));
            push(&mut bits)?;
            bits.push_terminator(LEVEL)?;
            QrCode::with_bits(bits, LEVEL)
        };
        let code = (1..=40).find_map(|version| drawn(version).ok()).ok_or(TooLong)?;
        let (width, colors) = (code.width(), code.into_colors());
        let side = width + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (y, row) in colors.chunks(width).enumerate() {
            for (x, color) in row.iter().enumerate() {
                dark[(y + QUIET) * side + x + QUIET] = *color == Color::Dark;
            }
        }
        Ok(Self { side, dark })
    }

    /// The largest whole multiple of a module within `size` pixels, one pixel at least.
    fn scale(&self, size: usize) -> usize {
        (size.clamp(*SIZES.start(), *SIZES.end()) / self.side).max(1)
    }

    fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.dark.chunks(self.side)
    }

    /// One path of row runs, in modules.
    pub fn svg(&self, size: usize) -> String {
        let (side, pixels) = (self.side, self.side * self.scale(size));
        let mut path = String::with_capacity(self.dark.len() * 4);
        for (y, row) in self.rows().enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|left, right| left == right) {
                if run[0] {
                    let _infallible = write!(path, "M{x} {y}h{0}v1h-{0}z", run.len());
                }
                x += run.len();
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{pixels}\" height=\"{pixels}\" \
             viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
        )
    }

    /// One bit per pixel. Most rows repeat the one above, which the filter `Up` turns into zeros.
    pub fn png(&self, size: usize) -> Vec<u8> {
        let scale = self.scale(size);
        let pixels = self.side * scale;
        let stride = pixels.div_ceil(8);
        let mut packed = Vec::with_capacity(stride * pixels);
        for row in self.rows() {
            let mut line = vec![0xFF_u8; stride];
            for x in (0..pixels).filter(|x| row[x / scale]) {
                line[x / 8] &= !(0x80 >> (x % 8));
            }
            for _ in 0..scale {
                packed.extend_from_slice(&line);
            }
        }
        let mut file = Vec::new();
        // No size is above 2048 modules or pixels.
        let mut encoder = Encoder::new(&mut file, pixels as u32, pixels as u32);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::One);
        encoder.set_compression(Compression::Fast);
        encoder.set_filter(Filter::Up);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(&packed)?;
            writer.finish()
        });
        written.expect("a vector takes all bytes, and their number is the header's");
        file
    }

    /// Two rows a line by half blocks, in colours no theme changes: readable on a dark terminal too.
    pub fn terminal(&self) -> String {
        let mut text = String::with_capacity(self.dark.len() * 2);
        for pair in self.dark.chunks(2 * self.side) {
            let (upper, lower) = pair.split_at(self.side);
            // Black on white of the 256-colour cube.
            text.push_str("\x1b[38;5;16;48;5;231m");
            // The last row may have none below it.
            let lower = lower.iter().copied().chain(std::iter::repeat(false));
            text.extend(upper.iter().zip(lower).map(|(upper, lower)| match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }));
            text.push_str("\x1b[0m\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules per side of a version, with the quiet zone.
    fn side(version: usize) -> usize {
        17 + 4 * version + 2 * QUIET
    }

    #[test]
    fn a_link_to_a_host_of_25_characters_is_version_4() {
        let code = "0123456789ABCDEFGHJKMNPQRSTVWXYZ01";
        let link = |host: usize| Picture::of_link(&format!("https://{}", "h".repeat(host)), code).unwrap();
        assert_eq!((code.len(), link(25).side), (crate::qr::LENGTH, side(4)));
        assert!(link(40).side > side(4));
    }

    #[test]
    fn pictures_have_a_quiet_zone_and_whole_pixels_per_module() {
        let picture = Picture::of_text("x").unwrap();
        let edge = |at: usize| !(QUIET..picture.side - QUIET).contains(&at);
        for (index, dark) in picture.dark.iter().enumerate() {
            assert!(!(*dark && (edge(index % picture.side) || edge(index / picture.side))));
        }
        for (asked, drawn) in [(0, 58), (64, 58), (300, 290), (480, 464), (100_000, 2030)] {
            let svg = picture.svg(asked);
            assert!(svg.contains(&format!("width=\"{drawn}\" height=\"{drawn}\" viewBox=\"0 0 29 29\"")), "{svg}");
            let decoder = png::Decoder::new(std::io::Cursor::new(picture.png(asked)));
            assert_eq!(decoder.read_info().unwrap().info().width, drawn);
        }
    }

    #[test]
    fn what_no_code_holds_is_refused() {
        assert!(Picture::of_text(&"x".repeat(2_331)).is_ok());
        assert_eq!(Picture::of_text(&"x".repeat(2_332)).unwrap_err(), TooLong);
    }
}
