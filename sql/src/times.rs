//! The range of times that a query can be about at all.

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::border::DATE;

const MICRO: i64 = 1_000;
const DAY: i64 = 86_400_000_000 * MICRO;

/// Unix nanoseconds from (inclusive) and to (exclusive) outside which no row fulfils all `filters`.
///
/// Rows have their time in whole microseconds, so bounds are of these; a bound that does not fit into 64 bits is none.
pub(crate) fn range(filters: &[Expr]) -> (Option<i64>, Option<i64>) {
    let (mut from, mut to) = (None::<i64>, None::<i64>);
    for filter in filters.iter().flat_map(split_conjunction) {
        let (low, high) = of_conjunct(filter);
        from = [from, low].into_iter().flatten().max();
        to = [to, high].into_iter().flatten().min();
    }
    (from, to)
}

fn of_conjunct(filter: &Expr) -> (Option<i64>, Option<i64>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compared(column, *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => {
                op.swap().map_or((None, None), |op| compared(column, op, value))
            }
            _ => (None, None),
        },
        Expr::Between(between) if !between.negated => match (&*between.expr, &*between.low, &*between.high) {
            (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                (compared(column, Operator::GtEq, low).0, compared(column, Operator::LtEq, high).1)
            }
            _ => (None, None),
        },
        _ => (None, None),
    }
}

/// What a comparison says; the last nanosecond of a value counts as part of it.
fn compared(column: &Column, op: Operator, value: &ScalarValue) -> (Option<i64>, Option<i64>) {
    let Some((first, unit)) = start(column, value) else { return (None, None) };
    let end = first.checked_add(unit);
    match op {
        Operator::Eq => (Some(first), end),
        Operator::GtEq | Operator::Gt => (Some(first), None),
        Operator::LtEq => (None, end),
        // `<` of a value with a fraction of a microsecond holds for that whole microsecond.
        Operator::Lt => (None, if first % MICRO == 0 { Some(first) } else { end }),
        _ => (None, None),
    }
}

/// The first nanosecond of a literal, and how many it stands for.
fn start(column: &Column, value: &ScalarValue) -> Option<(i64, i64)> {
    match (column.name.as_str(), value) {
        ("time", ScalarValue::TimestampSecond(Some(time), _)) => Some((time.checked_mul(1_000_000_000)?, MICRO)),
        ("time", ScalarValue::TimestampMillisecond(Some(time), _)) => Some((time.checked_mul(1_000_000)?, MICRO)),
        ("time", ScalarValue::TimestampMicrosecond(Some(time), _)) => Some((time.checked_mul(MICRO)?, MICRO)),
        ("time", ScalarValue::TimestampNanosecond(Some(time), _)) => Some((*time, MICRO)),
        (DATE, ScalarValue::Date32(Some(day))) => Some((i64::from(*day).checked_mul(DAY)?, DAY)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn micros(time: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())))
    }

    #[test]
    fn conjuncts_narrow_the_range_and_all_else_leaves_it() {
        let day = lit(ScalarValue::Date32(Some(1)));
        assert_eq!(range(&[col("time").gt_eq(micros(5)).and(col("time").lt(micros(9)))]), (Some(5_000), Some(9_000)));
        assert_eq!(range(&[micros(5).lt(col("time")), col("time").lt_eq(micros(9))]), (Some(5_000), Some(10_000)));
        assert_eq!(range(&[col("date").eq(day.clone())]), (Some(DAY), Some(2 * DAY)));
        assert_eq!(range(&[col("date").gt(day), col("time").between(micros(0), micros(3))]), (Some(DAY), Some(4_000)));
        assert_eq!(range(&[col("time").lt(micros(9)).or(col("agent").eq(lit("a")))]), (None, None));
        assert_eq!(range(&[col("time").not_between(micros(0), micros(3))]), (None, None));
        assert_eq!(range(&[col("time").gt(micros(i64::MAX)), col("temp").gt(lit(1))]), (None, None));
        let nanos = lit(ScalarValue::TimestampNanosecond(Some(1_500), None));
        assert_eq!(range(&[col("time").lt(nanos)]), (None, Some(2_500)));
    }
}
