//! New secrets, from the kernel's random number generator.
//!
//! Owns: turning a schema's `generate` into a value. Must not know: what it is for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::model::schema::{Generate, GenerateEncoding};
use crate::model::secret::SecretValue;

/// Makes a value of the recipe's number of random bytes.
///
/// # Errors
/// Where the kernel gives none.
pub fn generate(recipe: Generate) -> Result<SecretValue, getrandom::Error> {
    let mut bytes = vec![0_u8; recipe.bytes];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(recipe.text_len());
    match recipe.encoding {
        GenerateEncoding::Base64Url => URL_SAFE_NO_PAD.encode_string(&bytes, &mut text),
        GenerateEncoding::Base64 => STANDARD.encode_string(&bytes, &mut text),
        GenerateEncoding::Hex => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            for byte in &bytes {
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    Ok(SecretValue::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_promised_and_values_differ() {
        for encoding in [GenerateEncoding::Base64Url, GenerateEncoding::Base64, GenerateEncoding::Hex] {
            for bytes in [16, 32, 47, 48] {
                let recipe = Generate { encoding, bytes };
                let (one, two) = (generate(recipe).unwrap(), generate(recipe).unwrap());
                assert_eq!(one.len(), recipe.text_len(), "{recipe:?}");
                assert!(!one.same_as(&two));
            }
        }
    }
}
