//! What is logged, changed while the worker runs.

use crate::{variables, worker};
use ha_kit::{Place, log_level_changes_while_it_runs};

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
