//! Numbers in messages, as all plugins write them. Knows no units.

use std::fmt::Display;

/// A whole number with commas between thousands: `1,630`.
#[must_use]
pub fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 round`, `10,000 calls`.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [0_u64, 7, 42, 999, 1000, 1630, 78_630, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "42", "999", "1,000", "1,630", "78,630", "123,456", "1,234,567"]);
    }

    #[test]
    fn one_image_is_no_images() {
        let images = |count| counted(count, "image", "images");
        assert_eq!([0, 1, 2000].map(images), ["0 images", "1 image", "2,000 images"]);
    }
}
