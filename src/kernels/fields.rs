//! Reading a descriptor's fields.

/// A descriptor whose length was checked against its structure; offsets are those of `abi::tile_program`.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes([self.0[offset], self.0[offset + 1], self.0[offset + 2], self.0[offset + 3]])
    }

    pub(super) fn i32(self, offset: usize) -> i32 {
        self.u32(offset).cast_signed()
    }

    pub(super) fn f32(self, offset: usize) -> f32 {
        f32::from_bits(self.u32(offset))
    }

    /// The field as a count: at least 1.
    pub(super) fn count(self, offset: usize) -> Result<u64, u32> {
        match self.u32(offset) {
            0 => Err(crate::abi::tile_program::fault::BAD_DESCRIPTOR),
            value => Ok(u64::from(value)),
        }
    }

    /// The field as a distance in bytes.
    pub(super) fn pitch(self, offset: usize) -> u64 {
        u64::from(self.u32(offset))
    }
}
