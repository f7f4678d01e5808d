//! A PNG file without compression, for tests.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A square RGB picture in base64.
#[must_use]
pub fn png(side: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> String {
    let mut raw = vec![];
    for y in 0..side {
        raw.push(0);
        raw.extend((0..side).flat_map(|x| color(x, y)));
    }
    let length = u16::try_from(raw.len()).unwrap();
    let mut zlib = vec![0x78, 0x01, 1];
    zlib.extend(length.to_le_bytes());
    zlib.extend((!length).to_le_bytes());
    zlib.extend(&raw);
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    zlib.extend((b << 16 | a).to_be_bytes());
    let mut header = vec![];
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &zlib), (b"IEND", &vec![])] {
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [kind.as_slice(), data].concat();
        let crc = body.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
            )
        });
        file.extend(body);
        file.extend((!crc).to_be_bytes());
    }
    BASE64_STANDARD.encode(file)
}
