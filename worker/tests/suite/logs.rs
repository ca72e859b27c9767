//! What is logged, changed while the worker runs.

use crate::suite::process::log_level_changes_while_it_runs;
use crate::suite::stored::Place;
use crate::suite::{variables, worker};

#[tokio::test]
async fn the_log_level_changes_while_it_runs() {
    let place = Place::new().await;
    log_level_changes_while_it_runs(|quiet| {
        let mut variables = variables(&place);
        variables.push(quiet);
        worker(&variables)
    })
    .await;
}
