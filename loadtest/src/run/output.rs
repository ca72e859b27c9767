use std::path::PathBuf;

/// Where the report goes.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// File of the JSON report; `-` is standard output, which then holds nothing else.
    pub json: Option<String>,
    /// File of the same as a page.
    pub html: Option<PathBuf>,
}
