// SPDX-License-Identifier: MPL-2.0
//! Who gave an answer, and when: for the log, and for nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Who gave an answer, and when. Two answers are equal whoever gave them.
#[derive(Debug, Default, Clone)]
pub enum Given {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Somebody gave it.
    By {
        /// The service, without credentials, or the command that brought the answer.
        by: Arc<str>,
        /// When the answer came.
        at: SystemTime,
    },
}

impl Given {
    /// Who gave the answer, and how long ago, at the time `now`. A clock that was set back makes no
    /// answer younger than new.
    pub fn known(&self, now: SystemTime) -> Option<(&str, Duration)> {
        match self {
            Given::Unknown => None,
            Given::By { by, at } => Some((by, now.duration_since(*at).unwrap_or_default())),
        }
    }
}

impl PartialEq for Given {
    fn eq(&self, _: &Given) -> bool {
        true
    }
}

impl Eq for Given {}
