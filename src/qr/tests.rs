//! A code opens as it was sealed, and nothing else does.

use proptest::prelude::*;

use super::*;

fn keys() -> KeyRing {
    KeyRing::new(&[7; 32], &[])
}

fn code() -> (String, Code) {
    let text = seal(&keys(), CartNum(7), 3, Timestamp::from_unix(1_800_000_000));
    let code = Code::parse(&text).unwrap();
    (text, code)
}

proptest! {
    #[test]
    fn a_sealed_code_reads_back_and_is_genuine(num: u32, epoch in 0..i64::MAX, exp: u32, later in 0..60_000_i64) {
        let text = seal(&keys(), CartNum(num.into()), epoch, Timestamp::from_unix(exp.into()));
        prop_assert_eq!(text.len(), LENGTH);
        let code = Code::parse(&text).unwrap();
        prop_assert_eq!(code.num, CartNum(num.into()));
        prop_assert_eq!(code.exp, exp);
        prop_assert_eq!(code.full_epoch(epoch), epoch);
        prop_assert!(code.genuine(&keys(), epoch));
        // However often the cart has been used since, within reason, the code's own epoch is found.
        let current = epoch.saturating_add(later);
        prop_assert_eq!(code.full_epoch(current), epoch);
        prop_assert_eq!(code.to_string(), text);
    }

    #[test]
    fn a_code_with_another_character_anywhere_is_not_genuine(at in 0..LENGTH, other in 0..32_u8) {
        let (text, _) = code();
        let mut bytes = text.into_bytes();
        prop_assume!(digit_value(bytes[at]) != Some(other));
        bytes[at] = digit(other) as u8;
        let altered = Code::parse(std::str::from_utf8(&bytes).unwrap()).unwrap();
        prop_assert!(!altered.genuine(&keys(), altered.full_epoch(3)));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _read = open(&keys(), &text);
    }
}

#[test]
fn a_code_is_read_in_any_case_and_with_the_letters_people_confuse() {
    let (text, code) = code();
    let confused: String = text.replace('1', "l").replace('0', "o");
    let shouted: String = text.replace('1', "I").replace('0', "O");
    for spelling in [text.to_lowercase(), confused, shouted, format!(" -{text}- ")] {
        assert_eq!(Code::parse(&spelling), Ok(code.clone()), "{spelling}");
    }
}

#[test]
fn what_is_no_code_is_malformed() {
    let (text, _) = code();
    let short = &text[1..];
    let odd = format!("U{short}");
    for text in ["", "x", short, &odd, &format!("{text}0"), &format!("https://x/{text}"), "a.b.c", "ключ"] {
        assert_eq!(open(&keys(), text), Err(Refusal::Malformed), "{text}");
    }
}

#[test]
fn bare_code_link_and_jwt_open_as_the_same_code() {
    let (text, code) = code();
    let claims = QrToken { cartid: "7".parse().unwrap(), jti: text.clone() };
    let jwt = keys().sign(claims, Timestamp::from_unix(1_799_999_940), code.expires_at());
    let links = [link("https://carts.example", &text), format!("HTTP://10.0.0.1:8000/S#{}", text.to_lowercase())];
    for spelling in [text, jwt, links[0].clone(), links[1].clone()] {
        assert_eq!(open(&keys(), &spelling).as_ref(), Ok(&code), "{spelling}");
    }
}

#[test]
fn a_jwt_of_another_kind_or_another_secret_is_forged() {
    use crate::ids::{AccountId, SignInId};
    use crate::token::Access;
    let now = Timestamp::from_unix(1_800_000_000);
    let (text, _) = code();
    let access = keys().sign(Access { sub: AccountId(1), sid: SignInId(1) }, now, now);
    let foreign = KeyRing::new(&[8; 32], &[]).sign(QrToken { cartid: "7".parse().unwrap(), jti: text }, now, now);
    for jwt in [access, foreign, "eyJ.eyJ.x".into()] {
        assert_eq!(open(&keys(), &jwt), Err(Refusal::Forged), "{jwt}");
    }
}

#[test]
fn another_epoch_or_secret_does_not_make_it_genuine_and_a_rotated_one_does() {
    let (_, code) = code();
    assert!(!code.genuine(&keys(), 2) && !code.genuine(&keys(), 4));
    // The same low 16 bits, an age earlier: the full value is sealed.
    assert!(!code.genuine(&keys(), 3 + 65_536));
    assert!(!KeyRing::new(&[8; 32], &[]).pairing_macs(b"").eq(keys().pairing_macs(b"")));
    assert!(!code.genuine(&KeyRing::new(&[8; 32], &[]), 3));
    assert!(code.genuine(&KeyRing::new(&[8; 32], &[vec![7; 32]]), 3));
}
