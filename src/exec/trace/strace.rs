//! What strace wrote of a command, read: the files that it opened or executed before it can have made them itself.
//! Pure: text in, paths out. Knows no stage, and does not look at the files.
//!
//! A line is `PID CALL(ARGUMENT, …) = RESULT`. With `-y` every file descriptor is followed by its absolute path in
//! angle brackets, so that what `openat` returns is the path without links. Bytes that could be mistaken are written as
//! in C: `\"`, `\n`, `\303\251`, and in paths of descriptors `\74` and `\76` for the angle brackets themselves.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// The calls that are looked at, as `strace -e` wants them.
pub(super) const CALLS: &str = "trace=open,creat,openat,openat2,execve,execveat,rename,renameat,renameat2";

/// Files that a command read, absolute. A file that it may have made itself, because it opened it for writing only, was
/// ready to create it, or gave it its name, is none of them.
///
/// # Errors
/// When the trace cannot be read.
pub(super) fn files_read(mut trace: impl BufRead) -> io::Result<BTreeSet<PathBuf>> {
    let mut reader = Reader::default();
    let mut line = Vec::new();
    while trace.read_until(b'\n', &mut line)? > 0 {
        reader.line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(reader.read)
}

#[derive(Default)]
struct Reader {
    read: BTreeSet<PathBuf>,
    made: BTreeSet<PathBuf>,
    /// The folder that each process was last seen to be in.
    folders: HashMap<String, PathBuf>,
    /// Programs that a process executed by a relative path, before it was seen in which folder.
    programs: HashMap<String, PathBuf>,
    /// Beginnings of calls during which another process was seen.
    unfinished: HashMap<String, String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        let (pid, text) = line.split_at(digits);
        let text = text.trim_start();
        if let Some(begin) = text.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(pid.to_owned(), begin.trim_end().to_owned());
            return;
        }
        if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let begin = self.unfinished.remove(pid).unwrap_or_default();
            self.call(pid, &format!("{begin}{rest}"));
            return;
        }
        self.call(pid, text);
    }

    fn call(&mut self, pid: &str, text: &str) {
        let Some(call) = Call::parse(text) else { return };
        let Call { name, args, result } = &call;
        let arg = |index: usize| args.get(index).copied().unwrap_or_default();
        for folder in args.iter().filter_map(|arg| arg.strip_prefix("AT_FDCWD")).filter_map(bracketed) {
            if let Some(program) = self.programs.remove(pid) {
                self.add_read(absolute(&folder, &program));
            }
            self.folders.insert(pid.to_owned(), folder);
        }
        if !result.starts_with(|first: char| first.is_ascii_digit()) {
            return;
        }
        match *name {
            "creat" => self.made.extend(bracketed(result)),
            "open" => self.opened(result, arg(1)),
            "openat" | "openat2" => self.opened(result, arg(2)),
            "execve" => match quoted(arg(0)) {
                Some(path) if path.is_absolute() => self.add_read(path),
                Some(path) => drop(self.programs.insert(pid.to_owned(), path)),
                None => {}
            },
            "execveat" => self.read_by(pid, arg(0), arg(1)),
            "rename" => self.renamed(self.at(pid, "", arg(0)), self.at(pid, "", arg(1))),
            "renameat" | "renameat2" => {
                self.renamed(self.at(pid, arg(0), arg(1)), self.at(pid, arg(2), arg(3)));
            }
            _ => {}
        }
    }

    fn opened(&mut self, result: &str, flags: &str) {
        let Some(path) = bracketed(result) else { return };
        let has = |flag| flags.contains(flag);
        if has("O_WRONLY") || has("O_CREAT") || has("O_TRUNC") || has("O_TMPFILE") {
            self.made.insert(path);
        } else if !has("O_PATH") && !has("O_DIRECTORY") {
            self.add_read(path);
        }
    }

    fn read_by(&mut self, pid: &str, folder: &str, path: &str) {
        if let Some(path) = self.at(pid, folder, path) {
            self.add_read(path);
        }
    }

    fn renamed(&mut self, from: Option<PathBuf>, to: Option<PathBuf>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        let below = self.made.range(from.clone()..).take_while(|path| path.starts_with(&from));
        let moved: Vec<PathBuf> =
            below.filter_map(|path| Some(absolute(&to, path.strip_prefix(&from).ok()?))).collect();
        self.made.extend(moved);
    }

    fn add_read(&mut self, path: PathBuf) {
        if !self.made.contains(&path) {
            self.read.insert(path);
        }
    }

    /// The path that an argument names, from the folder that another one is a descriptor of, or else from the one that
    /// the process is in.
    fn at(&self, pid: &str, folder: &str, path: &str) -> Option<PathBuf> {
        let folder = bracketed(folder).or_else(|| self.folders.get(pid).cloned()).unwrap_or_default();
        let path = absolute(&folder, &quoted(path)?);
        path.is_absolute().then_some(path)
    }
}

/// A finished call.
#[derive(Debug, PartialEq)]
struct Call<'a> {
    name: &'a str,
    args: Vec<&'a str>,
    result: &'a str,
}

impl<'a> Call<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let mut args = Vec::new();
        let (mut start, mut depth) = (0, 0_usize);
        let (mut in_quotes, mut escaped) = (false, false);
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_quotes = !in_quotes,
                _ if in_quotes => {}
                '{' | '[' | '<' | '(' => depth += 1,
                ')' if depth == 0 => {
                    args.push(rest.get(start..at)?.trim());
                    let result = rest.get(at + 1..)?.trim_start().strip_prefix("= ")?;
                    return Some(Self { name, args, result });
                }
                '}' | ']' | '>' | ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    args.push(rest.get(start..at)?.trim());
                    start = at + 1;
                }
                _ => {}
            }
        }
        None
    }
}

/// The path of a descriptor: what stands in angle brackets behind its number, unless the file is deleted.
fn bracketed(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once('<')?;
    let (path, rest) = rest.split_once('>')?;
    let path = unescape(path);
    (!rest.starts_with("(deleted)") && path.is_absolute()).then_some(path)
}

/// The path in a quoted argument; one that was cut short, which `"…"...` says, is none.
fn quoted(text: &str) -> Option<PathBuf> {
    Some(unescape(text.strip_prefix('"')?.strip_suffix('"')?))
}

fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'v') => 0x0b,
            Some(b'f') => 0x0c,
            Some(digit @ b'0'..=b'7') => {
                let mut value = digit - b'0';
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else { break };
                    value = value.wrapping_mul(8).wrapping_add(digit - b'0');
                }
                value
            }
            Some(other) => other,
            None => b'\\',
        });
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// `path` as seen from `folder`, without `.` and `..`.
fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let mut absolute = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::ParentDir => drop(absolute.pop()),
            Component::CurDir => {}
            other => absolute.push(other),
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(trace: &str) -> Vec<String> {
        let files = files_read(trace.as_bytes()).unwrap();
        files.into_iter().map(|path| path.into_os_string().into_string().unwrap()).collect()
    }

    // Lines as strace 6.1 wrote them.

    #[test]
    fn what_is_opened_for_reading_is_read() {
        let trace = r#"6581  openat(AT_FDCWD</p>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
6581  openat(AT_FDCWD</p/sub>, "f", O_RDONLY) = 3</p/sub/f>
6582  openat(3</p>, "q", O_RDWR|O_CLOEXEC)   = 4</p/q>
6583  open("g", O_RDONLY)               = 3</p/g>
6583  openat2(AT_FDCWD</p>, "h", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 3</p/h>
"#;
        assert_eq!(read(trace), ["/etc/ld.so.cache", "/p/g", "/p/h", "/p/q", "/p/sub/f"]);
    }

    #[test]
    fn odd_names_are_read_as_they_are() {
        let trace = r#"6581  openat(AT_FDCWD</p>, "\303\251 a\"b.txt", O_RDONLY) = 3</p/\303\251 a\"b.txt>
32314 openat(AT_FDCWD</p>, "a<b>c.txt", O_RDONLY) = 3</p/a\74b\76c.txt>
32314 openat(AT_FDCWD</p>, "new\nline", O_RDONLY) = 3</p/new\nline>
32314 openat(AT_FDCWD</p>, "a) = 3, \"", O_RDONLY) = 3</p/a) = 3, \">
"#;
        assert_eq!(read(trace), ["/p/a) = 3, \"", "/p/a<b>c.txt", "/p/new\nline", "/p/é a\"b.txt"]);
    }

    #[test]
    fn folders_deleted_files_and_failures_are_not_read() {
        let trace = r#"7  openat(AT_FDCWD</p>, "sub/", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</p/sub>
7  openat(AT_FDCWD</p>, "/proc/self/fd/5", O_RDONLY) = 3</p/out3>(deleted)
7  openat(AT_FDCWD</p>, "nothere", O_RDONLY) = -1 ENOENT (No such file or directory)
7  openat(AT_FDCWD</p>, "x", O_RDONLY|O_PATH) = 3</p/x>
7  openat(AT_FDCWD</p>, "/proc/self/fd/0", O_RDONLY) = 3<pipe:[12]>
7  openat(AT_FDCWD</p>, "cut short
7  --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=32298, si_uid=0} ---
7  +++ exited with 1 +++
"#;
        assert!(read(trace).is_empty());
    }

    #[test]
    fn what_the_command_made_is_not_read() {
        let trace = r#"7  openat(AT_FDCWD</p>, "out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</p/out>
8  openat(AT_FDCWD</p>, "out", O_RDONLY) = 3</p/out>
8  creat("made", 0666)                   = 3</p/made>
8  openat(AT_FDCWD</p>, "made", O_RDONLY) = 3</p/made>
8  openat(AT_FDCWD</p>, "both", O_RDONLY) = 3</p/both>
8  openat(AT_FDCWD</p>, "both", O_WRONLY|O_TRUNC) = 3</p/both>
"#;
        assert_eq!(read(trace), ["/p/both"]);
    }

    #[test]
    fn a_new_name_does_not_make_it_older() {
        let trace = r#"7  openat(AT_FDCWD</p>, "new", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</p/new>
7  rename("new", "final")                = 0
7  openat(AT_FDCWD</p>, "final", O_RDONLY) = 3</p/final>
7  openat(AT_FDCWD</p>, "t/x", O_WRONLY|O_CREAT, 0600) = 3</p/t/x>
7  renameat2(AT_FDCWD</p>, "t", 5</p/deep>, "../u", RENAME_NOREPLACE) = 0
7  openat(AT_FDCWD</p>, "u/x", O_RDONLY) = 3</p/u/x>
7  openat(AT_FDCWD</p>, "old", O_RDONLY) = 3</p/old>
7  rename("old", "older")                = 0
7  openat(AT_FDCWD</p>, "older", O_RDONLY) = 3</p/older>
"#;
        assert_eq!(read(trace), ["/p/old", "/p/older"]);
    }

    #[test]
    fn programs_count_as_read_from_where_they_were_started() {
        let trace = r#"7  execve("/p/s.sh", ["/p/s.sh"], 0x7ffd5f8c90c0 /* 39 vars */) = 0
7  openat(AT_FDCWD</p/sub>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
8  execve("../tool", ["../tool", "-c", "\nimport os\nos.rename(\"q2\",\"q3\");"...], 0x55 /* 42 vars */) = 0
8  openat(AT_FDCWD</p/sub>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
9  execveat(3</p/sub>, "helper", ["helper"], 0x55 /* 42 vars */, 0) = 0
"#;
        assert_eq!(read(trace), ["/etc/ld.so.cache", "/p/s.sh", "/p/sub/helper", "/p/tool"]);
    }

    #[test]
    fn interrupted_calls_are_put_together() {
        let trace = r#"7  openat(AT_FDCWD</p>, "fifo", O_RDONLY <unfinished ...>
8  openat(AT_FDCWD</p>, "a", O_RDONLY) = 3</p/a>
7  <... openat resumed>)                 = 3</p/fifo>
9  <... openat resumed>)                 = 3</p/nothing>
"#;
        assert_eq!(read(trace), ["/p/a", "/p/fifo"]);
    }

    #[test]
    fn rubbish_is_passed_over() {
        for line in
            ["", "(", ")", "7", "7 open(", "7 openat(AT_FDCWD<", "7 x() = 3<", "\\", "7 open(\"\\", "<... "]
        {
            assert!(read(line).is_empty(), "{line}");
        }
    }
}
