//! Values by number, where numbers are given out in order.

use std::collections::VecDeque;

/// What is known under a number, found in one step. It has as many slots as there are numbers
/// since the oldest one that is still in it.
pub(crate) struct Table<T> {
    first: u64,
    slots: VecDeque<Option<Box<(u64, T)>>>,
    len: usize,
}

impl<T> Table<T> {
    /// Adds a value under a number that is larger than all before it.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        if self.slots.is_empty() {
            self.first = number;
        }
        let place = self
            .place(number)
            .filter(|place| *place >= self.slots.len());
        let place = place.expect("numbers are given out in order");
        self.slots.resize_with(place, || None);
        self.slots.push_back(Some(Box::new((number, value))));
        self.len += 1;
    }

    pub(crate) fn get(&self, number: &u64) -> Option<&T> {
        let slot = self.slots.get(self.place(*number)?)?;
        slot.as_ref().map(|entry| &entry.1)
    }

    pub(crate) fn get_mut(&mut self, number: &u64) -> Option<&mut T> {
        let place = self.place(*number)?;
        let slot = self.slots.get_mut(place)?;
        slot.as_mut().map(|entry| &mut entry.1)
    }

    pub(crate) fn remove(&mut self, number: &u64) -> Option<T> {
        let place = self.place(*number)?;
        let entry = self.slots.get_mut(place)?.take()?;
        self.len -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(entry.1)
    }

    /// All values, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&u64, &T)> {
        let entries = self.slots.iter().flatten();
        entries.map(|entry| (&entry.0, &entry.1))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            first: 0,
            slots: VecDeque::new(),
            len: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_go_with_the_oldest_value() {
        let mut table = Table::default();
        for number in [5, 6, 9] {
            table.insert(number, number * 10);
        }
        assert_eq!(table.slots.len(), 5);
        table.remove(&6);
        assert_eq!(table.slots.len(), 5);
        table.remove(&5);
        assert_eq!(table.slots.len(), 1);
        assert_eq!(table.get(&9), Some(&90));
        table.remove(&9);
        assert_eq!((table.slots.len(), table.len()), (0, 0));
        assert_eq!(table.get(&0), None);
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((0..3u8, 1..40u64), 0..200)) {
            let (mut table, mut map, mut next) = (Table::default(), BTreeMap::new(), 0);
            for (what, number) in steps {
                if what == 0 {
                    next += number;
                    table.insert(next, number);
                    map.insert(next, number);
                } else {
                    let number = next.saturating_sub(number);
                    prop_assert_eq!(table.remove(&number), map.remove(&number));
                }
                prop_assert_eq!(table.get_mut(&next), map.get_mut(&next));
                prop_assert!(table.iter().eq(map.iter()));
                prop_assert_eq!(table.len(), map.len());
            }
        }
    }
}
