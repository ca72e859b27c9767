use super::options::{SqliteError, SqliteOptions};
use rusqlite::ErrorCode;

/// An error inside, before it is told about the file.
#[derive(Debug)]
pub(super) enum Failure {
    Newer { found: i32, known: i32 },
    Foreign,
    ReadOnly,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    pub(super) fn into_public(self, options: &SqliteOptions) -> SqliteError {
        let path = path(options);
        let error = match self {
            Self::Newer { found, known } => return SqliteError::Newer { path, found, known },
            Self::Foreign => return SqliteError::Foreign { path },
            Self::ReadOnly => {
                return SqliteError::Unwritable {
                    path,
                    reason: "read-only".to_owned(),
                };
            }
            Self::Sqlite(error) => error,
        };
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                SqliteError::Corrupt { path, reason }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                SqliteError::Unwritable { path, reason }
            }
            _ => SqliteError::Unavailable { path, reason },
        }
    }
}

pub(super) fn path(options: &SqliteOptions) -> String {
    options.path.display().to_string()
}
