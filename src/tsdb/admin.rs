//! What an operator may do: delete, tidy up, copy.

use super::Tsdb;
use crate::storage::{AdminError, Administrable, Selector, TimeRange};

impl Administrable for Tsdb {
    fn delete(&self, _: &[Selector], _: TimeRange) -> Result<(), AdminError> {
        Err(AdminError::Failed("not wired yet".to_owned()))
    }

    fn clean_tombstones(&self) -> Result<(), AdminError> {
        Err(AdminError::Failed("not wired yet".to_owned()))
    }

    fn snapshot(&self, _: bool) -> Result<String, AdminError> {
        Err(AdminError::Failed("not wired yet".to_owned()))
    }

    fn trouble(&self) -> Option<String> {
        self.log.check().err().map(|error| error.to_string())
    }
}
