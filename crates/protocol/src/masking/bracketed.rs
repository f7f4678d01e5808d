//! Logins before a host in brackets: `user:password@tcp(host:port)/name`, as Go's driver of MySQL has it, and
//! `user:password@[::1]:port/name`.

use std::ops::Range;

use super::logins::{is_outer_end, is_user};

/// What stands between a login and such a host.
const MARKS: [&str; 5] = ["@tcp(", "@tcp4(", "@tcp6(", "@unix(", "@["];

/// The logins of a text.
pub(super) fn logins(text: &str) -> impl Iterator<Item = Range<usize>> {
    MARKS.iter().flat_map(|mark| text.match_indices(mark)).filter_map(|(at, mark)| {
        let before = text.get(..at)?;
        let word = before.rfind(is_outer_end).map_or(0, |end| {
            end + before.get(end..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        });
        let (assigned, password) = before.get(word..)?.split_once(':')?;
        let begin = word + assigned.rfind('=').map_or(0, |end| end + 1);
        let user = before.get(begin..word + assigned.len())?;
        // `@[` also begins other things: an address has a colon in it.
        let is_address = mark != "@[" || text.get(at..)?.split(']').next()?.contains(':');
        let is_login = !password.is_empty() && !password.starts_with('/') && is_user(user) && is_address;
        is_login.then_some(begin..at)
    })
}

#[cfg(test)]
mod tests {
    use super::super::hidden;

    #[test]
    fn logins_before_hosts_in_brackets_are_hidden() {
        for (text, shown) in [
            ("me:s3cret@tcp(127.0.0.1:3306)/x", "***@tcp(127.0.0.1:3306)/x"),
            ("DSN=me:s3cret@tcp(h:3306)/x?parseTime=true", "DSN=***@tcp(h:3306)/x?parseTime=true"),
            ("open \"me:a:b@unix(/tmp/s)/x\" failed", "open \"***@unix(/tmp/s)/x\" failed"),
            ("me:s3cret@[::1]:5432/x", "***@[::1]:5432/x"),
            ("a:b@[1]", "a:b@[1]"),
            ("@tcp(h)", "@tcp(h)"),
            ("tcp(h:1)", "tcp(h:1)"),
        ] {
            assert_eq!(hidden(text), shown, "{text}");
            assert_eq!(hidden(&hidden(text)), hidden(text), "what is hidden stays as it is: {text}");
        }
    }
}
