//! Locks: counters with waiters, as AIE-ML has them.

use crate::abi::array as abi;

/// One lock of a tile.
#[derive(Clone, Debug, Default)]
pub(super) struct Lock {
    value: i8,
    /// Who waits for it, longest first.
    waiters: Vec<Waiter>,
}

/// An entity that waits for a lock, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub entity: u16,
    pub value: i8,
}

/// A release would take the lock outside -64..63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Lock {
    #[inline]
    pub fn value(&self) -> i8 {
        self.value
    }

    /// Sets the value, as a write of the lock's register does.
    pub fn set(&mut self, value: i32) -> Result<(), Overflow> {
        if !(abi::LOCK_MIN..=abi::LOCK_MAX as i32).contains(&value) {
            return Err(Overflow);
        }
        self.value = value as i8;
        Ok(())
    }

    /// Takes the lock if it can be had now. A negative value waits for at least its magnitude and takes that off; any other
    /// waits for equality and takes nothing.
    #[inline]
    pub fn acquire(&mut self, value: i8) -> bool {
        if value < 0 {
            // -64 has a magnitude of 64, which no lock reaches.
            let available = i16::from(self.value) >= -i16::from(value);
            if available {
                self.value += value;
            }
            available
        } else {
            self.value == value
        }
    }

    /// Adds `value`.
    #[inline]
    pub fn release(&mut self, value: i8) -> Result<(), Overflow> {
        self.set(i32::from(self.value) + i32::from(value))
    }

    #[inline]
    pub fn wait(&mut self, entity: u16, value: i8) {
        self.waiters.push(Waiter { entity, value });
    }

    /// Forgets that `entity` waits.
    pub fn forget(&mut self, entity: u16) {
        self.waiters.retain(|waiter| waiter.entity != entity);
    }

    /// Lets the longest-waiting entity that can have the lock take it.
    #[inline]
    pub fn admit(&mut self) -> Option<u16> {
        for index in 0..self.waiters.len() {
            let waiter = self.waiters[index];
            if self.acquire(waiter.value) {
                self.waiters.remove(index);
                return Some(waiter.entity);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(value: i32) -> Lock {
        let mut lock = Lock::default();
        lock.set(value).unwrap();
        lock
    }

    #[test]
    fn negative_acquire_waits_for_at_least_and_subtracts() {
        let mut lock = lock(3);
        assert!(lock.acquire(-2));
        assert_eq!(lock.value(), 1);
        assert!(!lock.acquire(-2));
        assert_eq!(lock.value(), 1);
    }

    #[test]
    fn other_acquire_waits_for_equality_and_takes_nothing() {
        let mut lock = lock(3);
        assert!(!lock.acquire(2));
        assert!(lock.acquire(3));
        assert_eq!(lock.value(), 3);
        assert!(!lock.acquire(0));
    }

    #[test]
    fn values_stay_within_seven_bits() {
        assert_eq!(lock(60).release(3), Ok(()));
        assert_eq!(lock(60).release(4), Err(Overflow));
        assert_eq!(lock(-60).release(-4), Ok(()));
        assert_eq!(lock(-60).release(-5), Err(Overflow));
        assert!(!lock(63).acquire(-64));
        assert_eq!(Lock::default().set(64), Err(Overflow));
        assert_eq!(Lock::default().set(-65), Err(Overflow));
    }

    #[test]
    fn waiters_are_served_first_come_first_served_where_the_value_allows() {
        let mut lock = lock(0);
        lock.wait(1, -2);
        lock.wait(2, -1);
        lock.wait(3, -1);
        lock.set(1).unwrap();
        assert_eq!(lock.admit(), Some(2));
        assert_eq!(lock.admit(), None);
        lock.set(3).unwrap();
        assert_eq!(lock.admit(), Some(1));
        assert_eq!(lock.admit(), Some(3));
        assert_eq!(lock.admit(), None);
        assert_eq!(lock.value(), 0);
    }
}
