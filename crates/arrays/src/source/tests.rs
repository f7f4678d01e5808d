//! Arrays that are written here byte by byte, and read back.

use std::io::Write;

use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;
use crate::Element;

fn npy(kind: &str, is_column_major: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let order = if is_column_major { "True" } else { "False" };
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let text = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': ({axes}), }}\n");
    let length = u16::try_from(text.len()).unwrap().to_le_bytes();
    [MAGIC, &[1, 0], &length, text.as_bytes(), data].concat()
}

fn npz(path: &Path, method: zip::CompressionMethod, files: &[(&str, Vec<u8>)]) {
    let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn samples_of_archives_folders_and_single_files_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let x = npy("<f4", false, &[4, 2], &floats((0_u8..8).map(f32::from)));
    let n = npy("|u1", false, &[4], &[9, 8, 7, 6]);
    npz(&at("stored"), zip::CompressionMethod::Stored, &[("x.npy", x.clone()), ("n.npy", n.clone())]);
    npz(&at("packed"), zip::CompressionMethod::Deflated, &[("x.npy", x.clone()), ("n.npy", n.clone())]);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/x.npy"), &x).unwrap();
    fs::write(at("folder/n.npy"), &n).unwrap();
    fs::write(at("folder/notes.txt"), "").unwrap();
    fs::write(at("x.npy"), &x).unwrap();
    for source in ["stored", "packed", "folder", "x.npy"] {
        let source = Source::open(&at(source)).unwrap();
        assert_eq!(source.samples(), 4);
        let x = source.take("x", &[1, 3]).unwrap();
        assert_eq!((x.element, x.shape.as_slice()), (Element::F32, &[2, 2][..]));
        assert_eq!(x.bytes, floats([2.0, 3.0, 6.0, 7.0]));
        if source.headers().len() > 1 {
            assert_eq!(source.take("n", &[0, 2]).unwrap().bytes, [9, 7]);
        }
        assert!(source.take("z", &[0]).unwrap_err().to_string().contains("`z`"));
    }
}

#[test]
fn what_holds_no_arrays_or_arrays_that_do_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let told = |name: &str| Source::open(&at(name)).unwrap_err().to_string();
    snapshots::assert_message!(told("missing"));
    fs::write(at("text"), "1,2,3").unwrap();
    snapshots::assert_message!(told("text"));
    fs::create_dir(at("empty")).unwrap();
    snapshots::assert_message!(told("empty"));
    fs::write(at("cut"), b"PK\x03\x04").unwrap();
    snapshots::assert_message!(told("cut"));
    let one = npy("|u1", false, &[2], &[1, 2]);
    let other = npy("|u1", false, &[3], &[1, 2, 3]);
    npz(&at("differ"), zip::CompressionMethod::Stored, &[("a.npy", one), ("b.npy", other)]);
    snapshots::assert_message!(told("differ"));
    fs::write(at("scalar.npy"), npy("<f4", false, &[], &floats([1.0]))).unwrap();
    snapshots::assert_message!(told("scalar.npy"));
    let short = npy("<f4", false, &[1 << 40, 2], &floats([1.0; 7]));
    fs::write(at("short.npy"), short).unwrap();
    let short = Source::open(&at("short.npy")).unwrap();
    assert!(short.take("short", &[2]).is_ok());
    let error = short.take("short", &[2, 3]).unwrap_err().to_string();
    snapshots::assert_message!(error);
}

proptest! {
    #[test]
    fn any_order_of_axes_and_bytes_gives_the_same_samples(
        shape in proptest::collection::vec(1_usize..4, 1..5),
        is_column_major: bool,
        is_big_endian: bool,
        picked in proptest::collection::vec(any::<bool>(), 4),
    ) {
        let count: usize = shape.iter().product();
        // The value at a place is its number in row-major order.
        let number = |place: &[usize]| place.iter().zip(&shape).fold(0, |all, (index, axis)| all * axis + index);
        let places = (0..count).map(|mut rest| {
            let mut place = vec![0; shape.len()];
            let axes: Vec<usize> = match is_column_major {
                true => (0..shape.len()).collect(),
                false => (0..shape.len()).rev().collect(),
            };
            for axis in axes {
                place[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            number(&place)
        });
        let bytes = |value: u32| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let data: Vec<u8> = places.flat_map(|value| bytes(u32::try_from(value).unwrap())).collect();
        let kind = if is_big_endian { ">u4" } else { "<u4" };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        fs::write(&path, npy(kind, is_column_major, &shape, &data)).unwrap();
        let indices: Vec<usize> = (0..shape[0]).filter(|index| picked[*index]).collect();
        let taken = Source::open(&path).unwrap().take("x", &indices).unwrap();
        let size = count / shape[0];
        let expected = indices.iter().flat_map(|index| index * size..(index + 1) * size);
        let expected: Vec<u8> = expected.flat_map(|value| u32::try_from(value).unwrap().to_le_bytes()).collect();
        prop_assert_eq!(taken.bytes, expected);
    }
}

/// As PyTorch users have them: `safetensors.torch.save_file({"x": x, "n": n}, "arrays.safetensors")`.
#[test]
fn tensors_are_read_as_arrays_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let x = floats((0_u8..8).map(f32::from));
    let write = |name: &str, header: &str, data: &[u8]| {
        let length = (header.len() as u64).to_le_bytes();
        fs::write(at(name), [&length[..], header.as_bytes(), data].concat()).unwrap();
    };
    let header = r#"{"n":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
        "w":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"x":{"dtype":"F32","shape":[4,2],"data_offsets":[8,40]}}"#;
    write("t", header, &[&[9, 8, 7, 6, 0, 0, 0, 0], &x[..]].concat());
    let source = Source::open(&at("t")).unwrap();
    assert_eq!((source.samples(), source.is_single()), (4, false));
    assert_eq!(source.take("x", &[1, 3]).unwrap().bytes, floats([2.0, 3.0, 6.0, 7.0]));
    assert_eq!(source.take("n", &[0, 2]).unwrap().bytes, [9, 7]);
    assert_eq!(source.why_not("w"), Some("holds elements of type BF16, which are not read"));
    let refused = |name: &str| Source::open(&at(name)).unwrap_err().to_string();
    write("short", header, &x);
    snapshots::assert_message!(refused("short"));
    write("none", "{}", &[]);
    snapshots::assert_message!(refused("none"));
    write("uneven", &header.replace("[4,2]", "[2,4]"), &[&[0; 8], &x[..]].concat());
    snapshots::assert_message!(refused("uneven"));
    fs::write(at("long"), [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    snapshots::assert_message!(refused("long"));
}
