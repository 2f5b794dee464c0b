//! Readings of unlikely shapes: many series, many logs, many columns.

use std::fmt::Write as _;

use super::many;
use crate::Result;
use crate::memory::target::{self, Target};

const CONNECTIONS: usize = 4;
const LINES: usize = 500;

/// 10,000 values of a tag, and another tag that never repeats.
///
/// # Errors
/// None of its own.
pub async fn tags(target: &Target) -> Result<()> {
    lines(target, |out, number| {
        let series = number.wrapping_mul(7_919) % 10_000;
        let _ = writeln!(out, "tags,series=series-{series},unique=u{number} value={number},other={series}i");
    })
    .await
}

/// 1,000 logs by turns.
///
/// # Errors
/// None of its own.
pub async fn logs(target: &Target) -> Result<()> {
    lines(target, |out, number| {
        let _ = writeln!(out, "log{},site=a value={number},text=\"reading {number}\"", number % 1_000);
    })
    .await
}

/// Records of 512 columns: numbers and texts, in three logs.
///
/// # Errors
/// None of its own.
pub async fn columns(target: &Target) -> Result<()> {
    lines(target, |out, number| {
        // So wide that one line in ten is enough for a body.
        if !number.is_multiple_of(10) {
            return;
        }
        let _ = write!(out, "wide{}", number % 3);
        for column in 0..512 {
            let separator = if column == 0 { ' ' } else { ',' };
            let _ = match column % 8 {
                7 => write!(out, "{separator}c{column}=\"text {}\"", number.wrapping_mul(column + 1)),
                6 => write!(out, "{separator}c{column}={}i", number.wrapping_mul(column + 1)),
                _ => write!(out, "{separator}c{column}={}.{}", number % 97, number.wrapping_mul(31 + column) % 100_000),
            };
        }
        out.push('\n');
    })
    .await
}

async fn lines(target: &Target, line: impl Fn(&mut String, usize) + Clone + Send + 'static) -> Result<()> {
    many(target, CONNECTIONS, |target, connection| {
        let line = line.clone();
        async move {
            let mut number = connection;
            while !target.is_over() {
                let mut body = String::new();
                for _ in 0..LINES {
                    line(&mut body, number);
                    number += CONNECTIONS;
                }
                match target.exchange(&target::post("/write", "", body.as_bytes())).await {
                    Ok(status) => target.note(&status.to_string()),
                    Err(_) => target.note("hung up on"),
                }
            }
            Ok(())
        }
    })
    .await
}
