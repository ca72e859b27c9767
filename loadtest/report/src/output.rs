//! Where a report goes.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::page::html;
use crate::report::Report;

/// Where the report goes.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// File of the JSON report; `-` is standard output, which then holds nothing else.
    pub json: Option<String>,
    /// File of the same as a page.
    pub html: Option<PathBuf>,
}

impl Report {
    /// To a file and, as a table, to standard output; `-` is the JSON to standard output alone.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, output: &Output) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        if let Some(path) = &output.html {
            let page = html::page(self);
            std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
        }
        match output.json.as_deref() {
            Some("-") => std::io::stdout().write_all(json.as_bytes())?,
            Some(path) => {
                std::fs::write(path, json).with_context(|| format!("writing {path}"))?;
                print!("{self}");
            }
            None => print!("{self}"),
        }
        Ok(())
    }
}
