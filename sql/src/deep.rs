//! Bounds how deep a query can nest, before anybody walks it by recursion.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::SqlError;

/// Most operators, parentheses and keywords of a query: it cannot nest deeper than it has of these.
const MAX_OPERATORS: usize = 2_000;

/// Refuses a query that may nest too deeply. Names, values and commas nest nothing, so that lists may be long.
pub(crate) fn check(sql: &str) -> Result<(), SqlError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize();
    let tokens = tokens.map_err(|error| SqlError::Query(error.to_string()))?;
    let operators = tokens.iter().filter(|token| nests(token)).count();
    if operators > MAX_OPERATORS {
        return Err(SqlError::Query(format!(
            "the query has {operators} operators, parentheses and keywords; the most is {MAX_OPERATORS}. `x IN (…)` takes a list of any length"
        )));
    }
    Ok(())
}

fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}
