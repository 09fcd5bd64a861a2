// SPDX-License-Identifier: MPL-2.0
//! A place in an answer for what an adapter makes of the answer, once for all packets that it
//! serves.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

/// Holds one value of the adapter's own type. Core does not look into it: two answers are equal
/// whatever their slots hold, and a copy of an answer has an empty slot.
#[derive(Default)]
pub struct Slot(OnceLock<Box<dyn Any + Send + Sync>>);

impl Slot {
    /// The value, which `make` makes where the slot is empty. `None` where the slot holds a value of
    /// another type. Any thread.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        Slot::default()
    }
}

impl PartialEq for Slot {
    fn eq(&self, _: &Slot) -> bool {
        true
    }
}

impl Eq for Slot {}

impl fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once() {
        let slot = Slot::default();
        assert_eq!(slot.get_or_make(|| 1), Some(&1));
        assert_eq!(slot.get_or_make(|| 2), Some(&1));
        assert_eq!(slot.get_or_make(|| "another type"), None);
        assert_eq!(slot.clone().get_or_make(|| 3), Some(&3));
    }
}
