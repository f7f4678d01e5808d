//! What a file is, by its first bytes: a picture of a format that is read, a picture of one that is not, text, or
//! something else. Names decide nothing: pictures come under odd suffixes, and other things under theirs.

/// Bytes from the start of a file that [`Content::of`] wants to see; fewer where the file has no more.
pub(crate) const HEAD: usize = 132;

/// Formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
    /// PBM, PGM, PPM and PAM, in text or binary.
    Pnm,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Picture(Format),
    /// A picture of a format that is not read, by the format's name.
    OtherPicture(&'static str),
    Text,
    Unknown,
}

/// What files of formats that are not read start with, and at which byte.
const OTHERS: [(usize, &[u8], &str); 17] = [
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftyphevc", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, &[0xff, 0x0a], "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, &[0xff, 0x4f, 0xff, 0x51], "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"DDS ", "DDS"),
    (0, &[0x76, 0x2f, 0x31, 0x01], "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"qoif", "QOI"),
    (128, b"DICM", "DICOM"),
];

/// Sizes of the headers that follow a BMP file's first: two letters alone would be found in too many files.
const BMP_HEADERS: [u32; 7] = [12, 16, 40, 52, 56, 108, 124];

/// Most pixels on a side that a PNM file is believed to have.
const MOST_PIXELS: usize = 10_000_000;

impl Format {
    /// As it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
        }
    }

    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0xff, 0xd8, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            [b'B', b'M', rest @ ..] => {
                let header = rest.get(12..16).and_then(|bytes| bytes.first_chunk())?;
                BMP_HEADERS.contains(&u32::from_le_bytes(*header)).then_some(Self::Bmp)
            }
            [b'P', b'7', b'\n', rest @ ..] => {
                (rest.starts_with(b"WIDTH") || rest.starts_with(b"#")).then_some(Self::Pnm)
            }
            [b'P', kind @ b'1'..=b'6', ..] => is_pnm(*kind, head).then_some(Self::Pnm),
            _ => None,
        }
    }
}

impl Content {
    /// Of a file that starts with `head`: its first [`HEAD`] bytes, or all that it has.
    pub(crate) fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Self::Empty;
        }
        if let Some(format) = Format::of(head) {
            return Self::Picture(format);
        }
        let starts = |(at, magic, _): &&(usize, &[u8], &str)| {
            head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
        };
        if let Some((_, _, name)) = OTHERS.iter().find(starts) {
            return Self::OtherPicture(name);
        }
        if !is_text(head) {
            return Self::Unknown;
        }
        if head.windows(4).any(|window| window == b"<svg") {
            return Self::OtherPicture("SVG");
        }
        Self::Text
    }
}

/// Whether a file that starts with `P` and this digit goes on as PNM does: width, height and, but for bitmaps, the largest
/// value, as whole numbers with comments between them, and then pixels. Tables of persons `P1`, `P2`… start so, too.
fn is_pnm(kind: u8, head: &[u8]) -> bool {
    let is_bitmap = matches!(kind, b'1' | b'4');
    let limits: &[usize] = if is_bitmap { &[MOST_PIXELS; 2] } else { &[MOST_PIXELS, MOST_PIXELS, 65_535] };
    let mut rest = &head[2..];
    let mut values = Vec::with_capacity(limits.len());
    for &most in limits {
        let Some(number) = after_blanks(rest) else {
            // A long comment may hide what follows.
            return head.len() >= HEAD && rest.contains(&b'#');
        };
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = str::from_utf8(&number[..digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(value) = value.filter(|value| (1..=most).contains(value)) else { return false };
        if number.len() == rest.len() {
            return false;
        }
        values.push(value);
        rest = &number[digits..];
    }
    let [width, height, ..] = *values else { return false };
    let Some((blank, pixels)) = rest.split_first() else { return false };
    if !(blank.is_ascii_whitespace() || *blank == b'#' && kind <= b'3') {
        return false;
    }
    if kind <= b'3' {
        let Some(samples) = after_blanks(rest) else { return head.len() >= HEAD };
        let is_sample = |byte: &u8| match is_bitmap {
            true => matches!(byte, b'0' | b'1'),
            false => byte.is_ascii_digit(),
        };
        // Of a file that is seen whole, so are its pixels.
        let count = match is_bitmap {
            true => samples.iter().filter(|byte| is_sample(byte)).count(),
            false => samples.split(u8::is_ascii_whitespace).filter(|sample| !sample.is_empty()).count(),
        };
        if head.len() < HEAD && count < width.saturating_mul(height) {
            return false;
        }
        let mut samples = samples.iter().take_while(|&&byte| byte != b'#');
        return samples.all(|byte| is_sample(byte) || byte.is_ascii_whitespace());
    }
    // Pixels may be any bytes, even those of a text, but hardly those of a table's next rows, or of its end.
    let is_row = |line: &[u8]| match line {
        [b'P', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            digits > 0 && rest.get(digits) == head.get(2)
        }
        _ => false,
    };
    let row = match kind {
        b'4' => width.div_ceil(8),
        b'5' => width,
        _ => width.saturating_mul(3),
    };
    let is_cut = head.len() < HEAD && pixels.len() < row.saturating_mul(height);
    let looks_like_text = pixels.is_empty() || is_text(pixels);
    !looks_like_text || !(is_cut || pixels.split(|&byte| byte == b'\n').any(is_row))
}

/// What follows after blanks and comments; nothing where the file, or what is seen of it, ends before.
fn after_blanks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = bytes.trim_ascii_start();
        match bytes.first()? {
            b'#' => {
                let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
                bytes = &bytes[end..];
            }
            _ => return Some(bytes),
        }
    }
}

/// Whether these are characters that a text has. The last one may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|letter| !letter.is_control() || letter.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_first_bytes() {
        let of = |head: &[u8]| match Content::of(head) {
            Content::Picture(format) => format.name(),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(&[0xff, 0xd8, 0xff, 0xe0]), "JPEG");
        assert_eq!(of(b"\x89PNG\r\n\x1a\n"), "PNG");
        assert_eq!(of(b"GIF89a"), "GIF");
        assert_eq!(of(b"RIFF\x24\0\0\0WEBPVP8 "), "WebP");
        assert_eq!(of(b"II*\0\x08\0\0\0"), "TIFF");
        assert_eq!(of(b"MM\0*\0\0\0\x08"), "TIFF");
        assert_eq!(of(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"), "BMP");
        assert_eq!(of(b"P6\n4 2\n255\n\0"), "PNM");
        assert_eq!(of(b"P2 # made by hand\n1 1\n#\n9 5"), "PNM");
        assert_eq!(of(b"P1 8 1\n10110001"), "PNM");
        assert_eq!(of(b"P5\t1 # wide\n2\t255\nAB"), "PNM");
        let mut long = b"P6\n# ".to_vec();
        long.resize(HEAD, b'x');
        assert_eq!(of(&long), "PNM");
        assert_eq!(of(b"P7\nWIDTH 4\n"), "PNM");
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        assert_eq!(Content::of(b""), Content::Empty);
        assert_eq!(Content::of(b"BMW and other makes"), Content::Text);
        assert_eq!(Content::of(b"P1 is the first class"), Content::Text);
        assert_eq!(Content::of("grün\tund blau\r\n".as_bytes()), Content::Text);
        assert_eq!(Content::of(&"ü".as_bytes()[..1]), Content::Unknown);
        assert_eq!(Content::of(&[1, 2, 3]), Content::Unknown);
        assert_eq!(Content::of(b"RIFF\x24\0\0\0WAVEfmt "), Content::Unknown);
    }

    #[test]
    fn tables_of_persons_are_texts() {
        let rest = [
            "\t34\tF\n",
            "\t34\t170\tF\n",
            "\t34\t170\t65\n",
            " 34 170 65 1\n",
            "\t34\t1\n",
            " 0 1 2 3 4\n",
            "\t1\n",
        ];
        for rest in rest {
            for first in 1..=6 {
                let table: String = (first..40).map(|person| format!("P{person}{rest}")).collect();
                assert_eq!(Content::of(&table.as_bytes()[..HEAD]), Content::Text, "P{first}{rest}");
                let row = format!("P{first}{rest}");
                assert_eq!(Content::of(row.as_bytes()), Content::Text, "{row}");
            }
        }
    }

    #[test]
    fn formats_that_are_not_read_have_names() {
        assert_eq!(Content::of(b"\0\0\0\x20ftypavif\0\0\0\0"), Content::OtherPicture("AVIF"));
        assert_eq!(Content::of(b"\0\0\0\x18ftypheic\0\0\0\0"), Content::OtherPicture("HEIC"));
        assert_eq!(Content::of(b"<?xml version=\"1.0\"?>\n<svg width=\"4\">"), Content::OtherPicture("SVG"));
        let mut dicom = vec![0; 128];
        dicom.extend(b"DICM");
        assert_eq!(Content::of(&dicom), Content::OtherPicture("DICOM"));
    }
}
