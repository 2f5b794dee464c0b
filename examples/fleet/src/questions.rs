//! What the hub says by SQL of what the fleet shipped, and how long it thinks.

use std::time::Instant;

use pyralog_e2e::Result;
use pyralog_e2e::hub::Hub;

/// Asks for all agents, for all records, and for one agent's, each twice.
///
/// # Errors
/// When an answer is not what was shipped.
pub async fn ask(hub: &Hub, agents: usize, records: u64) -> Result<()> {
    let agents = u64::try_from(agents)?;
    let questions = [
        ("SELECT count(*) AS n FROM _agents", Some(agents)),
        ("SELECT count(*) AS n FROM climate", Some(records)),
        ("SELECT count(*) AS n FROM climate WHERE agent = 'board-00000'", None),
    ];
    for (question, wanted) in questions {
        let mut took = Vec::new();
        for _ in 0..2 {
            let began = Instant::now();
            let rows = hub.sql(question).await?;
            took.push(format!("{:.2} s", began.elapsed().as_secs_f64()));
            let found = rows.first().and_then(|row| row["n"].as_u64());
            if found.is_none() || wanted.is_some_and(|wanted| found != Some(wanted)) {
                return Err(format!("{question}: {rows:?}, where {wanted:?} was shipped").into());
            }
        }
        println!("sql: {question}: right, in {}", took.join(", then "));
    }
    Ok(())
}
