//! Decoders nobody here wrote: zbar (Debian `zbar-tools`) and rxing, and a renderer for SVG
//! (`librsvg2-bin`).

use std::io::Write;
use std::process::{Command, Stdio};

/// A grey picture.
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    /// A byte each, row by row.
    pub luma: Vec<u8>,
}

impl Pixels {
    pub fn of_png(png: &[u8]) -> Self {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let per_pixel = bytes.len() / (info.width * info.height) as usize;
        // Pictures here are grey: any channel will do.
        let luma = bytes.chunks(per_pixel).map(|pixel| pixel[0]).collect();
        Self { width: info.width, height: info.height, luma }
    }

    /// What a terminal shows: each character is two pixels of `scale`, one above the other.
    pub fn of_terminal(text: &str, scale: usize) -> Self {
        let mut rows: Vec<Vec<bool>> = Vec::new();
        for line in text.lines() {
            let shown = without_escapes(line);
            rows.push(shown.chars().map(|c| matches!(c, '█' | '▀')).collect());
            rows.push(shown.chars().map(|c| matches!(c, '█' | '▄')).collect());
        }
        let width = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == width), "the lines are of one length");
        let grey = |dark: bool| if dark { 0 } else { 255 };
        let line = |row: &Vec<bool>| -> Vec<u8> { row.iter().flat_map(|dark| vec![grey(*dark); scale]).collect() };
        let luma: Vec<u8> = rows.iter().flat_map(|row| line(row).repeat(scale)).collect();
        Self { width: (width * scale) as u32, height: (rows.len() * scale) as u32, luma }
    }

    fn to_png(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&self.luma).unwrap();
        writer.finish().unwrap();
        file
    }

    /// What each decoder reads.
    pub fn decoded(&self) -> [String; 2] {
        [zbar(&self.to_png()), rxing(self)]
    }
}

/// A line as a terminal shows it, whatever its colours.
fn without_escapes(line: &str) -> String {
    let (first, styled) = line.split_once('\x1b').unwrap_or((line, ""));
    let parts = styled.split('\x1b').filter_map(|part| part.split_once('m')).map(|(_, shown)| shown);
    std::iter::once(first).chain(parts).collect()
}

/// An SVG in a browser's stead, `pixels` wide.
pub fn rendered(svg: &str, pixels: u32) -> Vec<u8> {
    let size = pixels.to_string();
    run("rsvg-convert", "librsvg2-bin", &["-w", &size, "-h", &size], svg.as_bytes())
}

pub fn zbar(png: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("code.png");
    std::fs::write(&file, png).unwrap();
    let text = run("zbarimg", "zbar-tools", &["--quiet", "--raw", file.to_str().unwrap()], b"");
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

fn rxing(pixels: &Pixels) -> String {
    let format = Some(rxing::BarcodeFormat::QR_CODE);
    let read = rxing::helpers::detect_in_luma(pixels.luma.clone(), pixels.width, pixels.height, format);
    read.map(|read| read.getText().to_owned()).unwrap_or_default()
}

fn run(program: &str, package: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; it comes with Debian's {package}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}
