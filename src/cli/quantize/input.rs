//! The shape of the images that an ONNX model takes, and the files that it names for its weights, as far as its file says it. Knows the wire format of protocol buffers and the
//! few fields on the way there; what is broken or unusual says nothing here, and is told by the op that reads the model.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Most fields of a message that are looked at.
const MOST: usize = 1 << 20;

/// The sizes of the model's first input that is no weight; nothing for those that the model leaves open.
pub(super) fn shape(model: &Path) -> Option<Vec<Option<u64>>> {
    let mut file = BufReader::new(regular::open(model).ok()?);
    let end = file.seek(SeekFrom::End(0)).ok()?;
    input_shape(&mut file, end).ok().flatten()
}

/// The files that the model names for its weights, which lie beside it; nothing of a file that cannot be read so.
pub(super) fn locations(model: &Path) -> BTreeSet<String> {
    let locations = || {
        let mut file = BufReader::new(regular::open(model)?);
        let end = file.seek(SeekFrom::End(0))?;
        weights_elsewhere(&mut file, end)
    };
    locations().unwrap_or_default()
}

fn weights_elsewhere(file: &mut (impl Read + Seek), end: u64) -> io::Result<BTreeSet<String>> {
    let mut locations = BTreeSet::new();
    let Some(graph) = only(file, 0..end, 7)? else { return Ok(locations) };
    let mut tensors = Vec::new();
    for part in fields(file, graph)? {
        match part.number {
            5 => tensors.push(part.bytes),
            // NodeProto.attribute, AttributeProto.t.
            1 => {
                for attribute in fields(file, part.bytes)?.into_iter().filter(|field| field.number == 5) {
                    tensors.extend(only(file, attribute.bytes, 5)?);
                }
            }
            _ => {}
        }
    }
    for tensor in tensors {
        // TensorProto.external_data, of which each is a key and a value.
        for entry in fields(file, tensor)?.into_iter().filter(|field| field.number == 13) {
            if name(file, &entry.bytes, 1)? == b"location" {
                locations.extend(String::from_utf8(name(file, &entry.bytes, 2)?));
            }
        }
    }
    Ok(locations)
}

/// What is wrong with such an input for pictures, or how many channels they need.
pub(super) fn channels(shape: &[Option<u64>]) -> Result<Option<u64>, String> {
    match *shape {
        [_, Some(1 | 3), _, _] => Ok(shape[1]),
        [_, _, _, Some(last @ (1 | 3))] => Err(format!(
            "its input has shape {}, with the {last} channels last: only channels first are read",
            text(shape)
        )),
        [_, Some(other), _, _] => Err(format!(
            "its input has shape {}, of {other} channels, but pictures have 1 (grey) or 3 (red, green and blue)",
            text(shape)
        )),
        _ => Ok(None),
    }
}

fn text(shape: &[Option<u64>]) -> String {
    let sizes: Vec<_> =
        shape.iter().map(|size| size.map_or_else(|| "?".into(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// A field of a message: its number, and the value or where its bytes lie.
struct Field {
    number: u64,
    value: u64,
    bytes: Range<u64>,
}

fn input_shape(file: &mut (impl Read + Seek), end: u64) -> io::Result<Option<Vec<Option<u64>>>> {
    let Some(graph) = only(file, 0..end, 7)? else { return Ok(None) };
    let fields = fields(file, graph)?;
    let mut weights = Vec::new();
    for weight in fields.iter().filter(|field| field.number == 5) {
        weights.push(name(file, &weight.bytes, 8)?);
    }
    for input in fields.iter().filter(|field| field.number == 11) {
        if weights.contains(&name(file, &input.bytes, 1)?) {
            continue;
        }
        // ValueInfoProto.type, TypeProto.tensor_type, Tensor.shape.
        let mut place = Some(input.bytes.clone());
        for number in [2, 1, 2] {
            place = place.map(|place| only(file, place, number)).transpose()?.flatten();
        }
        let Some(place) = place else { return Ok(None) };
        let mut shape = Vec::new();
        for dim in self::fields(file, place)?.into_iter().filter(|field| field.number == 1) {
            let value = self::fields(file, dim.bytes)?.into_iter().find(|field| field.number == 1);
            shape.push(value.map(|field| field.value).filter(|size| (1..1 << 31).contains(size)));
        }
        return Ok(Some(shape));
    }
    Ok(None)
}

/// The bytes of the field with this number.
fn only(file: &mut (impl Read + Seek), place: Range<u64>, number: u64) -> io::Result<Option<Range<u64>>> {
    let field = fields(file, place)?.into_iter().find(|field| field.number == number);
    Ok(field.map(|field| field.bytes))
}

/// The name that is the field with this number.
fn name(file: &mut (impl Read + Seek), place: &Range<u64>, number: u64) -> io::Result<Vec<u8>> {
    let mut name = Vec::new();
    if let Some(place) = only(file, place.clone(), number)? {
        file.seek(SeekFrom::Start(place.start))?;
        file.take((place.end - place.start).min(1 << 16)).read_to_end(&mut name)?;
    }
    Ok(name)
}

/// All fields of the message that lies at `place`.
fn fields(file: &mut (impl Read + Seek), place: Range<u64>) -> io::Result<Vec<Field>> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut fields = Vec::new();
    let mut at = place.start;
    while at < place.end && fields.len() < MOST {
        file.seek(SeekFrom::Start(at))?;
        let key = varint(file, &mut at)?;
        let mut value = 0;
        let length = match key & 7 {
            0 => {
                value = varint(file, &mut at)?;
                0
            }
            1 => 8,
            2 => varint(file, &mut at)?,
            5 => 4,
            _ => return Err(broken()),
        };
        let end = at.checked_add(length).filter(|end| *end <= place.end).ok_or_else(broken)?;
        fields.push(Field { number: key >> 3, value, bytes: at..end });
        at = end;
    }
    Ok(fields)
}

fn varint(file: &mut impl Read, at: &mut u64) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        *at += 1;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(value);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len();
        let [low, high] = [length & 0x7f, length >> 7].map(|part| u8::try_from(part).unwrap());
        let length = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
        [&[number << 3 | 2], &*length, bytes].concat()
    }

    fn value(name: &str, shape: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = shape
            .iter()
            .flat_map(|size| if *size == 0 { field(1, &field(2, b"n")) } else { field(1, &[8, *size]) })
            .collect();
        let tensor = [vec![8, 1], field(2, &dims)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    }

    /// A model that takes such images, as IR version 3 has it: weights are inputs, too. A size of 0 is left open.
    pub(in super::super) fn model(shape: &[u8]) -> Vec<u8> {
        let graph = [
            field(5, &[&[8, 2], &field(8, b"w")[..]].concat()),
            field(11, &value("w", &[2])),
            field(11, &value("x", shape)),
        ];
        [vec![8, 3], field(7, &graph.concat())].concat()
    }

    /// A model whose weights lie in these files.
    pub(in super::super) fn with_weights_in(locations: &[&str]) -> Vec<u8> {
        let tensor = |location: &&str| {
            let entry = |key: &str, value: &str| {
                field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
            };
            [vec![8, 2], field(8, b"w"), entry("offset", "0"), entry("location", location), vec![14 << 3, 1]]
                .concat()
        };
        let graph: Vec<u8> = locations.iter().flat_map(|location| field(5, &tensor(location))).collect();
        let constant = field(1, &field(5, &field(5, &tensor(&"of a node"))));
        [vec![8, 3], field(7, &[graph, constant].concat())].concat()
    }

    #[test]
    fn the_files_of_weights_are_those_that_the_model_names() {
        let of = |bytes: &[u8]| weights_elsewhere(&mut io::Cursor::new(bytes), bytes.len() as u64);
        let named = of(&with_weights_in(&["b.data", "a", "b.data"])).unwrap();
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["a", "b.data", "of a node"]);
        assert!(of(&model(&[0, 3, 8, 8])).unwrap().is_empty());
        assert!(of(b"no model at all").is_err());
    }

    fn read(bytes: &[u8]) -> Option<Vec<Option<u64>>> {
        input_shape(&mut io::Cursor::new(bytes), bytes.len() as u64).ok().flatten()
    }

    #[test]
    fn the_shape_of_the_images_is_read_and_that_of_weights_is_not() {
        assert_eq!(read(&model(&[0, 1, 28, 28])), Some(vec![None, Some(1), Some(28), Some(28)]));
        let whole = model(&[0, 1, 28, 28]);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        assert_eq!(read(b"no model at all"), None);
    }

    #[test]
    fn pictures_have_one_channel_or_three_and_these_come_first() {
        let of = |shape: [u64; 4]| channels(&shape.map(|size| Some(size).filter(|size| *size > 0)));
        assert_eq!(of([0, 1, 28, 28]), Ok(Some(1)));
        assert_eq!(of([1, 3, 32, 32]), Ok(Some(3)));
        assert_eq!(of([0, 0, 32, 32]), Ok(None));
        assert_eq!(channels(&[None, Some(784)]), Ok(None));
        let last = of([0, 32, 32, 3]).unwrap_err();
        assert_eq!(
            last,
            "its input has shape [?, 32, 32, 3], with the 3 channels last: only channels first are read"
        );
        snapshots::assert_message!(of([1, 4, 32, 32]).unwrap_err());
    }
}
