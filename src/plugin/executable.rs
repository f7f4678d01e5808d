//! What a file is that does not start or fails at once, by its first bytes: a script of another system, a program for another
//! machine, or none at all. Starts nothing.

use std::io::Read;
use std::path::Path;

/// Longer than the kernel reads of the first line of a script, and long enough for the list of an executable's parts.
const HEAD: u64 = 4096;

/// `e_machine` of ELF files, with the names that the compiler has for them.
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

/// The kind of an ELF file's part that names what loads it.
const PT_INTERP: u32 = 3;

/// Why the system does not start a file, and what to do about it, where its first bytes tell.
pub(super) fn unstartable(path: &Path) -> Option<String> {
    let head = head(path)?;
    if let Some(told) = misread(path, &head).or_else(|| foreign(&head)) {
        return Some(told);
    }
    if head.is_empty() {
        return Some(format!("it is empty: {ANEW}"));
    }
    if head.starts_with(b"\x7fELF") {
        let loader = loader_of(&head).filter(|loader| !Path::new(loader).exists());
        return Some(match loader {
            Some(loader) => format!(
                "it needs `{loader}`, which is not there: it is built for another system or C library; install the one for this one"
            ),
            None => format!("it is damaged or cut short: {ANEW}"),
        });
    }
    let is_text = !head.starts_with(b"#!") && std::str::from_utf8(&head).is_ok() && !head.contains(&0);
    is_text.then(|| {
        "it is a text whose first line does not say what runs it: begin it with, for example, `#!/usr/bin/env python3`".into()
    })
}

/// What to do about a script whose first line is not what it looks like. A shell that is handed one starts it and fails.
pub(super) fn misread(path: &Path, head: &[u8]) -> Option<String> {
    if let Some(script) = head.strip_prefix(b"\xef\xbb\xbf")
        && script.starts_with(b"#!")
    {
        return Some(format!(
            "it begins with a byte order mark, so that its first line is not read: remove that, as by `sed -i '1s/^\\xEF\\xBB\\xBF//' {}`",
            path.display()
        ));
    }
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    line.ends_with(b"\r").then(|| {
        format!(
            "its first line ends with a carriage return, as on Windows, which counts as a part of what it names: convert the file, \
             as by `sed -i 's/\\r$//' {}`",
            path.display()
        )
    })
}

/// What to do about a file that is of another system or machine and did not start. What did may be run by an emulator.
fn foreign(head: &[u8]) -> Option<String> {
    let this = std::env::consts::ARCH;
    let other = if head.starts_with(b"\x7fELF") {
        let machine = u16_at(head, 18)?;
        let name = MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
        let is_this = match name {
            Some(name) => name == this,
            // Neither of them is known here.
            None => !MACHINES.iter().any(|(_, name)| *name == this),
        };
        (!is_this).then(|| name.map_or(format!("machine number {machine}"), str::to_owned))
    } else if head.starts_with(b"MZ") {
        Some("Windows".into())
    } else if head.starts_with(b"\xcf\xfa\xed\xfe") || head.starts_with(b"\xce\xfa\xed\xfe") {
        Some("macOS".into())
    } else if head.starts_with(b"\xca\xfe\xba\xbe") {
        // Two kinds of files begin so.
        return Some(
            "it is a program for macOS or a class of Java, which this system does not start: install the build for this one, or \
             a script that starts `java`"
                .into(),
        );
    } else {
        None
    }?;
    let here = if other.starts_with(char::is_uppercase) { std::env::consts::OS } else { this };
    Some(format!("it is built for {other}, and this machine is {here}: install the build for this one"))
}

/// The first bytes of a file, if it can be read.
pub(super) fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    regular::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// What to do about what is not whole.
const ANEW: &str = "install it anew";

/// The program that loads an ELF file, where that is of 64 bits and says so near its start.
fn loader_of(head: &[u8]) -> Option<String> {
    (*head.get(4)? == 2).then_some(())?;
    let (start, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    let part = (0..usize::from(count)).find_map(|index| {
        let at = usize::try_from(start).ok()?.checked_add(index.checked_mul(usize::from(size))?)?;
        (u32_at(head, at)? == PT_INTERP).then_some(at)
    })?;
    let (from, length) = (u64_at(head, part.checked_add(8)?)?, u64_at(head, part.checked_add(32)?)?);
    let from = usize::try_from(from).ok()?;
    let name = head.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    String::from_utf8(name.to_vec()).ok()
}

fn is_big_endian(head: &[u8]) -> bool {
    head.get(5) == Some(&2)
}

/// Numbers in the byte order that the file itself names.
fn bytes<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    let mut bytes: [u8; N] = head.get(at..at.checked_add(N)?)?.try_into().ok()?;
    if is_big_endian(head) {
        bytes.reverse();
    }
    Some(bytes)
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    bytes(head, at).map(u16::from_le_bytes)
}

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    bytes(head, at).map(u32::from_le_bytes)
}

fn u64_at(head: &[u8], at: usize) -> Option<u64> {
    bytes(head, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe-x");
        std::fs::write(&path, bytes).unwrap();
        unstartable(&path)
    }

    /// An ELF file of 64 bits for a machine, which is loaded by `loader`.
    fn elf(machine: u16, loader: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[64 + 8] = 64 + 56;
        bytes[64 + 32] = u8::try_from(loader.len()).unwrap() + 1;
        bytes.extend(loader.bytes().chain([0]));
        bytes
    }

    fn this_machine() -> u16 {
        MACHINES.iter().find(|(_, name)| *name == std::env::consts::ARCH).unwrap().0
    }

    #[test]
    fn what_is_of_another_machine_or_system_says_so() {
        let other = if this_machine() == 183 { 62 } else { 183 };
        let name = if other == 183 { "aarch64" } else { "x86_64" };
        let expected = format!("it is built for {name}, and this machine is {}: ", std::env::consts::ARCH);
        let text = told(&elf(other, "/lib/ld.so")).unwrap();
        assert!(text.starts_with(&expected), "{text}");
        let text = told(&elf(this_machine(), "/lib/no-such-ld.so.1")).unwrap();
        snapshots::assert_message!(text);
        snapshots::assert_message!(told(b"MZ\x90\0").unwrap());
        snapshots::assert_message!(told(b"\xcf\xfa\xed\xfe\x07").unwrap());
        snapshots::assert_message!(told(b"\xca\xfe\xba\xbe\0").unwrap());
    }

    #[test]
    fn a_text_that_does_not_start_says_what_is_wrong_with_its_first_line() {
        for (text, expected) in [
            ("#!/usr/bin/env python3\r\nprint()\r\n", "its first line ends with a carriage return"),
            ("#!/bin/sh\r", "its first line ends with a carriage return"),
            ("\u{feff}#!/bin/sh\n", "it begins with a byte order mark"),
            ("print()\n", "it is a text whose first line does not say what runs it"),
            ("", "it is empty"),
        ] {
            let told = told(text.as_bytes()).unwrap();
            assert!(told.starts_with(expected), "{told}");
        }
        assert_eq!(told(b"#!/bin/sh\necho\r\n"), None);
        assert_eq!(told(b"\0\x01"), None);
    }

    #[test]
    fn what_is_cut_short_is_no_reason_to_panic() {
        let whole = elf(this_machine(), "/lib/no-such-ld.so.1");
        for length in 4..whole.len() {
            assert!(told(&whole[..length]).is_some() || length < 20, "{length}");
        }
        let mut wild = whole;
        wild[6..].fill(0xff);
        assert!(told(&wild).is_some());
    }
}
