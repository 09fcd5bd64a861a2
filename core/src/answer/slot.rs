// SPDX-License-Identifier: MPL-2.0
//! A place in an answer for what an adapter makes of the answer, once for all packets that it
//! serves.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Holds one value of the adapter's own type. Core does not look into it: two answers are equal
/// whatever their slots hold, and a copy of an answer has an empty slot. Any thread.
#[derive(Default)]
pub struct Slot(RwLock<Option<Arc<dyn Any + Send + Sync>>>);

impl Slot {
    /// The value. `None` where the slot is empty, or holds a value of another type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let value = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        value?.downcast().ok()
    }

    /// Puts a value in the place of the present one.
    pub fn set<T: Any + Send + Sync>(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
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
    fn the_last_value_counts() {
        let slot = Slot::default();
        assert_eq!(slot.get::<i32>(), None);
        slot.set(Arc::new(1));
        slot.set(Arc::new(2));
        assert_eq!(slot.get::<i32>(), Some(Arc::new(2)));
        assert_eq!(slot.get::<u8>(), None, "another type");
        assert_eq!(slot.clone().get::<i32>(), None);
    }
}
