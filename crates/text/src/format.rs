//! Numbers, sizes, durations and times as people read them. Knows no terminal and no markup.

use std::time::Duration;

/// A number with a fixed count of decimals, thousands separated by commas and a real minus sign: `−1,630.50`.
/// Numbers that would take more than 15 digits come in scientific notation.
#[must_use]
pub fn number(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value.abs() >= 1e15 {
        return scientific(value);
    }
    let text = format!("{:.*}", digits.min(12), value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::with_capacity(text.len() + 6);
    // A value that rounds to zero has no sign.
    if value < 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        grouped.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// A number with as many decimals as it deserves when nobody said how many: three or four significant digits,
/// none after a whole number.
#[must_use]
pub fn number_auto(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude >= 1e15 {
        return number(value, 0);
    }
    if value.fract() == 0.0 {
        return number(value, 0);
    }
    if magnitude < 1e-4 {
        return scientific(value);
    }
    let digits = match magnitude {
        m if m >= 1000.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 1.0 => 2,
        m if m >= 0.1 => 3,
        m if m >= 0.01 => 4,
        _ => 6,
    };
    let text = number(value, digits);
    if magnitude < 1.0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Both ends of an interval, each as [`number_auto`] writes it.
#[must_use]
pub fn interval_auto([low, high]: [f64; 2]) -> String {
    format!("[{}, {}]", number_auto(low), number_auto(high))
}

fn scientific(value: f64) -> String {
    format!("{value:.2e}").replace('-', "−")
}

/// A count with its noun and the verb that agrees with it: `1 stage is`, `3 stages are`.
#[must_use]
pub fn agreed(count: usize, noun: &str, one: &str, several: &str) -> String {
    format!("{} {}", self::count(count, noun), if count == 1 { one } else { several })
}

/// A size with a binary unit of 1,024: `104.8 KB`, `1.2 GB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", number(size, 1))
}

/// A duration in one or two units: `184 ms`, `1.2 s`, `12 min 3 s`, `1 h 4 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis} ms");
    }
    if millis < 9950 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = millis.saturating_add(500) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: u128, big_unit: &str, small: u128, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    if minutes == 0 {
        format!("{seconds} s")
    } else if hours == 0 {
        pair(minutes, "min", seconds % 60, "s")
    } else if days == 0 {
        pair(hours, "h", minutes % 60, "min")
    } else {
        pair(days, "d", hours % 24, "h")
    }
}

/// [`duration`] of milliseconds.
#[must_use]
pub fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

/// A rough duration, for what lies ahead: one unit from a minute on up to an hour.
#[must_use]
pub fn duration_rough(ahead: Duration) -> String {
    let seconds = ahead.as_secs_f64().round();
    if seconds < 1.0 {
        return "1 s".into();
    }
    if seconds < 60.0 {
        return format!("{seconds} s");
    }
    if (60.0..3600.0).contains(&seconds) {
        return format!("{} min", (seconds / 60.0).round());
    }
    duration(Duration::from_secs(seconds as u64))
}

/// Date and time of milliseconds since 1970, in UTC: `2026-11-20 14:03`.
#[must_use]
pub fn date_time(millis: u64) -> String {
    strftime(millis, "%Y-%m-%d %H:%M")
}

/// Date and time of milliseconds since 1970 as RFC 3339 in UTC, for machines.
#[must_use]
pub fn rfc3339(millis: u64) -> String {
    strftime(millis, "%Y-%m-%dT%H:%M:%SZ")
}

fn strftime(millis: u64, format: &str) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| "at an unknown time".into(), |time| time.strftime(format).to_string())
}

/// A count with its noun: `1 stage`, `9 stages`.
#[must_use]
pub fn count(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count as f64, 0))
}

/// A fragment, as messages are, as a sentence.
#[must_use]
pub fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    let first = chars.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(chars).chain(['.']).collect()
}

/// Names in a sentence: `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, digits, text) in [
            (0.0, 0, "0"),
            (-0.001, 2, "0.00"),
            (-0.02, 2, "−0.02"),
            (1630.0, 0, "1,630"),
            (999_999.5, 0, "1,000,000"),
            (318.34, 1, "318.3"),
            (1e300, 2, "1.00e300"),
            (f64::NAN, 1, "–"),
        ] {
            assert_eq!(number(value, digits), text);
        }
        for (value, text) in [
            (78630.0, "78,630"),
            (91.823, "91.82"),
            (0.0523, "0.0523"),
            (2.1e-6, "2.10e−6"),
            (1234.6, "1,235"),
            (-0.12, "−0.12"),
            (0.9999, "1"),
        ] {
            assert_eq!(number_auto(value), text);
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(107_315), "104.8 KB");
        assert_eq!(bytes(u64::MAX), "16,384.0 PB");
    }

    #[test]
    fn durations() {
        for (millis, text) in [
            (0, "0 ms"),
            (184, "184 ms"),
            (1_234, "1.2 s"),
            (9_949, "9.9 s"),
            (9_960, "10 s"),
            (59_600, "1 min"),
            (723_000, "12 min 3 s"),
            (2_472_000, "41 min 12 s"),
            (3_840_000, "1 h 4 min"),
            (97_200_000, "1 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration_rough(Duration::from_secs(31 * 60 + 20)), "31 min");
        assert_eq!(duration_rough(Duration::from_millis(10)), "1 s");
        assert!(!duration_rough(Duration::MAX).is_empty());
    }

    #[test]
    fn times_and_words() {
        assert_eq!(date_time(1_795_183_380_000), "2026-11-20 14:03");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(date_time(u64::MAX), "at an unknown time");
        assert_eq!(count(1, "stage"), "1 stage");
        assert_eq!(count(1200, "image"), "1,200 images");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
