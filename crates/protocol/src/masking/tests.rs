use super::*;

use proptest::prelude::*;

#[test]
fn what_is_secret_is_taken_out_and_the_rest_stays() {
    for (text, shown) in [
        ("https://h/x", "https://h/x"),
        ("https://user:pw@h:81/x", "https://***@h:81/x"),
        ("https://token@h/x", "https://***@h/x"),
        ("https://u:p@ss@h/x", "https://***@h/x"),
        ("https://u:p/a#s?s@h/x", "https://***@h/x"),
        ("https://u:p'w@h/x?a='b'&c", "https://***@h/x?***"),
        ("s3://id:secret@bucket/k", "s3://***@bucket/k"),
        ("git+https://t0k3n@github.com/a/b.git@main#egg=b", "git+https://***@github.com/a/b.git@main#egg=b"),
        ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
        ("ssh://git:pw@github.com/a/b", "ssh://***@github.com/a/b"),
        ("curl 'https://u:p'w@h/x'", "curl 'https://***@h/x'"),
        (r#"["http://h:80","x@y"]"#, r#"["http://h:80","x@y"]"#),
        ("https://registry.org/@scope/name", "https://registry.org/@scope/name"),
        ("http://[::1]:80/@x", "http://[::1]:80/@x"),
        ("http://localhost:8888/@x", "http://localhost:8888/@x"),
        ("https://h/x?X-Amz-Signature=a/b@c#md5=1&size=2", "https://h/x?***#md5=1&size=2"),
        ("https://h/x?", "https://h/x?"),
        ("https://h#access_token=abc&state=1", "https://h#access_token=***&state=***"),
        ("curl 'https://h/x?k=v' -o \"${outputs.o}\"", "curl 'https://h/x?***' -o \"${outputs.o}\""),
        ("see http://h/x?", "see http://h/x?"),
        ("(http://h/x?a=b).", "(http://h/x?***)."),
        ("curl https://$USER:${PASS}@h/x?key=$KEY", "curl https://$USER:${PASS}@h/x?key=$KEY"),
        ("curl https://me:$PASS@h/", "curl https://***@h/"),
        (r#"{"url":"https://u:p@h/x?s=1\"","n":1}"#, r#"{"url":"https://***@h/x?***\"","n":1}"#),
        (r"https:\/\/u:p@h\/x?s=1", r"https:\/\/***@h\/x?***"),
        ("https://a/https://u:p@b/x?c=d", "https://a/https://***@b/x?***"),
        ("é://u:p@h https://ü:ö@h/?ä=ß", "é://u:p@h https://***@h/?***"),
        ("HTTPS://U:P@H/", "HTTPS://***@H/"),
        ("http://u:p@a http://u:p@b", "http://***@a http://***@b"),
        ("a://b", "a://b"),
        ("://u:p@h", "://u:p@h"),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
        assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
    }
}

#[test]
fn what_only_looks_like_a_port_is_a_password() {
    for (text, shown) in [
        ("http://me:12/34@h", "http://***@h"),
        ("http://me:12?34@h/x", "http://***@h/x"),
        ("http://me:12#34@h/x", "http://***@h/x"),
        ("get http://me:12/34@h/x?s=1 now", "get http://***@h/x?*** now"),
        ("\"http://me:12'34@h/x\"", "\"http://***@h/x\""),
        ("http://h:80/x", "http://h:80/x"),
        ("http://h:80/x?mail=a@b", "http://h:80/x?***"),
        ("http://h:80/@scope/x", "http://h:80/@scope/x"),
        ("http://localhost:80/a/x@1", "http://localhost:80/a/x@1"),
        ("http://127.0.0.1:80/a/x@1", "http://127.0.0.1:80/a/x@1"),
        ("'http://h:80/x', a@b", "'http://h:80/x', a@b"),
        ("http://h:80/x,http://u:p@b", "http://h:80/x,http://***@b"),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
        assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
    }
}

#[test]
fn a_login_with_blanks_is_hidden_whole() {
    for (text, shown) in [
        ("https://user:pa ss@host/x", "https://***@host/x"),
        ("get https://user:pa ss@host/x now", "get https://***@host/x now"),
        ("get https://user:pa ss wo@rd@host/x", "get https://***@host/x"),
        ("https://user:pa/ss wo rd@host", "https://***@host"),
        ("https://user: pass@host", "https://***@host"),
        ("https://user:12 34@host", "https://***@host"),
        ("https://my token@host/x", "https://***@host/x"),
        ("https://token @host/x", "https://***@host/x"),
        ("curl 'https://my secret token@host/x'", "curl 'https://***@host/x'"),
        ("http://u:p q@a, http://v:r s@b", "http://***@a, http://***@b"),
        ("http://u:p q@a\nmail@b", "http://***@a\nmail@b"),
        // No logins.
        ("https://example.org me@x.org", "https://example.org me@x.org"),
        ("http://localhost me@x.org", "http://localhost me@x.org"),
        ("http://127.0.0.1:80 me@x.org", "http://127.0.0.1:80 me@x.org"),
        ("http://db:80 as me@x.org", "http://db:80 as me@x.org"),
        ("https://h/x for me@x.org", "https://h/x for me@x.org"),
        ("http://h:$PORT and me@x.org", "http://h:$PORT and me@x.org"),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
        assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
    }
}

#[test]
fn a_quoted_url_goes_on_to_the_quote() {
    for (text, shown) in [
        ("`https://h/x?t=a b c`: not found", "`https://h/x?***`: not found"),
        ("curl \"https://h/a b?t=a b\" -o \"x y\"", "curl \"https://h/a b?***\" -o \"x y\""),
        (r#"{"u":"https://h/x?t=a \"b c","n":1}"#, r#"{"u":"https://h/x?***","n":1}"#),
        (r#"{\"u\":\"https://h/x?t=a b\",\"n\":1}"#, r#"{\"u\":\"https://h/x?***\",\"n\":1}"#),
        ("'https://h/x?t=a b http://c/?d=e f'", "'https://h/x?***http://c/?*** f'"),
        ("'https://h/x?t=a b\nc'", "'https://h/x?*** b\nc'"),
        ("\"https://h/x is down\"", "\"https://h/x is down\""),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
    }
}

#[test]
fn a_value_that_begins_as_a_url_is_one() {
    for (text, shown) in [
        ("https://h/x?t=a b c", "https://h/x?***"),
        (" https://h/x?t=a 'b\" c ", " https://h/x?*** "),
        ("https://h/x#t=a b&size=3", "https://h/x#t=***&size=3"),
        ("https://h/x#T0k3n and more", "https://h/x#***"),
        ("https://user:pa ss@host/x?k=a b#md5=1", "https://***@host/x?***#md5=1"),
        ("https://my own t0ken@host/x", "https://***@host/x"),
        ("https://u:p/a s@h i/x", "https://***@h i/x"),
        ("https://u:12 /3 4@h/x y", "https://***@h/x y"),
        ("https://u:pa\nss@h", "https://***@h"),
        ("https://u:p@a/s s@h/x", "https://***@h/x"),
        ("https://h/x?k=v w https://u:p q@i/?r s", "https://h/x?*** https://***@i/?***"),
        ("https://a/https://u:p q@b/x?c d", "https://a/https://***@b/x?***"),
        // As messages begin.
        ("https://***@h/x?***: not found", "https://***@h/x?***: not found"),
        ("https://h/x?***#***: not found", "https://h/x?***#***: not found"),
        ("https://h/x is down", "https://h/x is down"),
        // What does not begin as one.
        ("get https://h/x?t=a b", "get https://h/x?*** b"),
        ("X=https://h/x?t=a b", "X=https://h/x?*** b"),
        ("a b", "a b"),
    ] {
        assert_eq!(hidden_value(text), shown, "{text}");
        assert_eq!(hidden_value(shown), shown, "what is hidden stays as it is: {text}");
    }
    assert_eq!(without_secrets("https://u:p q@h/x?s=1 2#sha256=ab"), "https://h/x#sha256=ab");
    let found = secrets("https://me:correct horse@h/x?sig=abcd efgh");
    for secret in ["me:correct horse", "correct horse", "correct", "horse", "sig=abcd efgh", "abcd efgh"] {
        assert!(found.iter().any(|one| one == secret), "{secret}: {found:?}");
    }
}

#[test]
fn a_fragment_is_shown_where_it_is_a_checksum_or_words() {
    for (text, shown) in [
        ("https://h/x#md5=ab&size=3", "https://h/x#md5=ab&size=3"),
        ("https://h/x#installing-from_source", "https://h/x#installing-from_source"),
        ("https://h/x#L10-L20", "https://h/x#L10-L20"),
        ("https://h/x#Section-2.1", "https://h/x#Section-2.1"),
        ("https://h/x#/route/of/page", "https://h/x#/route/of/page"),
        ("https://h/x#${PART}", "https://h/x#${PART}"),
        ("https://mega/file/a#Zk3-0aBc9Qx", "https://mega/file/a#***"),
        ("https://h/x#d41d8cd98f00b204", "https://h/x#***"),
        ("https://h/x#id_token=a.b=&tab=main", "https://h/x#id_token=***&tab=***"),
        ("https://h/x?q=1#k=v", "https://h/x?***#k=***"),
        ("https://h/x#md5=ab&token", "https://h/x#md5=ab&token"),
        ("https://h/x#md5=ab&t0k3nXyZ", "https://h/x#md5=ab&***"),
        ("https://h/x#egg=name", "https://h/x#egg=name"),
        ("https://h/x#md5=a:b@c", "https://h/x#md5=***"),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
        assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
    }
}

#[test]
fn urls_are_found_however_they_stand_in_a_text() {
    for (text, shown) in [
        // As errors and headers have them.
        ("bad uri: https://u:p@h/a b is missing", "bad uri: https://***@h/a b is missing"),
        ("Location: https://h/x?X-Amz-Signature=abc", "Location: https://h/x?***"),
        ("Location: /x?X-Amz-Signature=abc&X-Amz-Date=1", "Location: /x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("GET /x?a=1&Signature=a%2Fb%3D HTTP/1.1", "GET /x?a=1&Signature=*** HTTP/1.1"),
        ("/x?a=1&amp;sig=abc&amp;b", "/x?a=1&amp;sig=***&amp;b"),
        (r#"{"u":"/x?a=1\u0026token=abc"}"#, r#"{"u":"/x?a=1\u0026token=***"}"#),
        ("/x?token=$TOKEN&sig=${SIG}", "/x?token=$TOKEN&sig=${SIG}"),
        ("signature=abc, design=x", "signature=abc, design=x"),
        // Several in a line.
        ("http://u:p@a,http://v:q@b;http://c/?k", "http://***@a,http://***@b;http://c/?***"),
        (
            "http://a/x?k=1 (which leads to https://b/y?k=2)",
            "http://a/x?*** (which leads to https://b/y?***)",
        ),
        // Users.
        ("https://user@h/x", "https://***@h/x"),
        ("https://me@x.org:pw@h/x", "https://***@h/x"),
        ("https://u%40x:p%2F1@h/x", "https://***@h/x"),
        ("https://u:p@[2001:db8::1]:8443/x?q", "https://***@[2001:db8::1]:8443/x?***"),
        ("https://[2001:db8::1]/x@y", "https://[2001:db8::1]/x@y"),
        ("HTTPS://U:P@H/x?Q#K9Z8", "HTTPS://***@H/x?***#***"),
        ("file://u:p@h/x", "file://***@h/x"),
        ("file:///C:/me@x/y", "file:///C:/me@x/y"),
        // Slashes too many and too few.
        ("https:///u:p@h/x", "https:///***@h/x"),
        ("https:/u:p@h/x", "https:/***@h/x"),
        ("scp h:/u:p@h/x", "scp h:/u:p@h/x"),
        // Encoded.
        (
            "/login?next=https%3A%2F%2Fu%3Ap%40h%2Fx%3Fk%3Dv&a",
            "/login?next=https%3A%2F%2F***%40h%2Fx%3F***&a",
        ),
        ("https%3a%2f%2fh%2fx", "https%3a%2f%2fh%2fx"),
        (
            "/login?next=https%253A%252F%252Fu%253Ap%2540h%252Fx%253Fk%253Dv&a",
            "/login?next=https%253A%252F%252F***%2540h%252Fx%253F***&a",
        ),
        ("https%25253A%25252F%25252Fu%25253Ap%252540h", "https%25253A%25252F%25252F***%252540h"),
        ("https%3A//u:p@h/x", "https%3A//***@h/x"),
        ("https:%2F%2Fu:p%40h%2Fx", "https:%2F%2F***%40h%2Fx"),
        ("https://h/?to=http%3A%2F%2Fu%3Ap%40h", "https://h/?***"),
    ] {
        assert_eq!(hidden(text), shown, "{text}");
        assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
    }
}

#[test]
fn a_text_keeps_everything_but_its_secrets() {
    assert_eq!(hidden("nothing here"), "nothing here");
    assert_eq!(
        hidden("get https://me:pw@a.org/x?sig=1#md5=ab, then http://b/?k=v."),
        "get https://***@a.org/x?***#md5=ab, then http://b/?***."
    );
}

#[test]
fn a_proxy_keeps_its_host() {
    for (address, rest) in [
        ("http://u:p@proxy:3128", "http://proxy:3128"),
        ("u:p@proxy:3128", "proxy:3128"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("u:p@ss@proxy", "proxy"),
    ] {
        assert_eq!(without_credentials(address), rest, "{address}");
    }
}

#[test]
fn what_a_checksum_names_has_no_secrets() {
    assert_eq!(without_secrets("https://u:p@h/x?sig=1#sha256=ab&size=3"), "https://h/x#sha256=ab&size=3");
    assert_eq!(without_secrets("https://h/x#md5=ab"), "https://h/x#md5=ab");
}

#[test]
fn secrets_are_found_as_programs_print_them() {
    let found = secrets("https://me:a%2Fb@h/x?sig=abcdefgh&v=1");
    for secret in ["me:a%2Fb", "a%2Fb", "a/b", "me:a/b", "sig=abcdefgh&v=1", "abcdefgh"] {
        assert!(found.iter().any(|one| one == secret), "{secret}: {found:?}");
    }
    assert!(!found.iter().any(|one| one == "1" || one == "me"), "{found:?}");
}

proptest! {
    #[test]
    fn no_secret_is_left_and_no_text_breaks_it(before in "[ -~é]{0,8}", secret in "[a-z0-9][a-z0-9/?#@']{3,12}", after in "[ -~é]{0,8}") {
        let text = format!("{before} https://me:{secret}Z@host/x {after}");
        prop_assert!(!hidden(&text).contains(&format!("{secret}Z")), "{}", hidden(&text));
        let _ = without_secrets(&text);
        let _ = secrets(&text);
    }

    #[test]
    fn a_blank_in_a_password_shows_nothing_of_it(before in "[ -~é]{0,8}", first in "[a-z][a-z0-9/?#@']{1,8}", rest in "[a-z0-9/?# ]{0,8}", after in "[ -9;-~é]{0,8}") {
        let url = format!("https://me:{first} {rest}Ö@host/x{after}");
        let shown = hidden_value(&url);
        let part = if first.contains('@') { format!("{first} {rest}Ö") } else { format!("{rest}Ö") };
        prop_assert!(!shown.contains(&part), "{url}: {shown}");
        prop_assert!(hidden_value(&shown) == shown, "{url}: {shown}");
        if !first.contains(['/', '?', '#', '\'', '@']) {
            let text = format!("{before} {url}");
            let shown = hidden(&text);
            prop_assert!(!shown.contains(&format!("{rest}Ö")), "{text}: {shown}");
        }
    }
}

/// Each takes minutes where every URL is looked at up to the end of the line.
#[test]
fn a_line_of_many_urls_is_read_once() {
    let repeated = |text: &str| text.repeat(400_000 / text.len());
    for text in [
        "http://",
        "docker://alpine:latest,",
        r#"{"u":"http://h:80/x"},"#,
        r#"{\"u\":\"http:\/\/h:80\/x\"},"#,
        "http://h?a=&",
        "https%3a%2f%2fh%2c",
        "a=",
        "http://h/x.",
        r#""http://h:80/x y","#,
        r#"\"http:\/\/h:x y\","#,
        "http://h:x ",
        "http://h:x,",
        "`http://h x` ",
        "http://h b @",
    ] {
        let line = repeated(text);
        let value = format!("https://h/{line}");
        assert!(hidden_value(&value).len() <= value.len());
        let shown = hidden(&line);
        let is_hidden = text == "http://h?a=&";
        assert_eq!(matches!(shown, Cow::Owned(_)), is_hidden, "{text}");
    }
    for (text, secret) in
        [("a://u:pw1234@h/,", "pw1234"), ("https%3a%2f%2fu%3apw1234%40h%3fq%3d1,", "pw1234")]
    {
        let line = repeated(text);
        assert!(!hidden(&line).contains(secret), "{text}");
    }
    let dots = format!("{}{}", repeated("http://h,").trim_end_matches(','), ".".repeat(100_000));
    assert_eq!(hidden(&dots), dots);
}
