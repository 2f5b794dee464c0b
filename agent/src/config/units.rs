//! Sizes and durations as people write them: `64MiB`, `10m`.

use std::time::Duration;

/// Bytes of a text such as `64MiB`, `1.5 GiB`, `500kB` or `4096`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let size: Result<bytesize::ByteSize, _> = text.trim().parse();
    match size {
        Ok(size) if !text.trim_start().starts_with('-') => Ok(size.as_u64()),
        _ => Err(format!("\"{text}\" is not a size; write bytes with a unit, such as \"64MiB\" or \"512KiB\"")),
    }
}

/// The shortest exact way to write a number of bytes; [`parse_size`] reads it back.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// A duration from a text such as `10s`, `500ms` or `1h 30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        format!("\"{text}\" is not a duration; write a number with a unit, such as \"10s\", \"5m\" or \"2h\"")
    })
}

/// A duration in words that [`parse_duration`] reads back.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("512KiB", 512 << 10), ("4096", 4096), ("1.5 MiB", 3 << 19)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(format_size(64 << 20), "64MiB");
        assert_eq!(format_size(1000), "1000B");
    }

    #[test]
    fn what_is_not_a_size_says_how_one_is_written() {
        for text in ["", "lots", "-1MiB", "64 apples"] {
            assert!(parse_size(text).unwrap_err().contains("64MiB"), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert!(parse_duration("60").unwrap_err().contains("unit"));
        assert_eq!(format_duration(Duration::from_millis(90_500)), "1m 30s 500ms");
    }
}
