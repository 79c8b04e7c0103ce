//! The order in which a buffer descriptor visits memory.
//!
//! D0 is contiguous (AIE4 has no D0 step), so every pattern is a sequence of runs: `wraps[0]` words, the next run `steps[0]`
//! words further, and so on. Zero padding, which mem tiles insert when they send, is made of runs that have no address.

/// A descriptor's dimensions, in words. A wrap of zero takes all that is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of D0, D1, D2.
    pub wraps: [u32; 3],
    /// Of D1, D2, D3.
    pub steps: [u32; 3],
    /// Zeros before and after each run (words), each plane (runs) and each volume (planes).
    pub before: [u32; 3],
    pub after: [u32; 3],
}

const UNLIMITED: u32 = u32::MAX;

/// A position in a descriptor's words. What is `left` counts padding too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    pub left: u32,
    base: u64,
    /// Wrap of D0 to D2, UNLIMITED for none.
    wraps: [u32; 3],
    before: [u32; 3],
    /// Wrap and padding together.
    spans: [u32; 3],
    steps: [u32; 3],
    padded: bool,
    at: [u32; 4],
}

/// What lies ahead: `rows` runs of `run` words, `stride` words apart, from word `at` on, and if those end a plane, `planes` such
/// planes, `plane_stride` words apart; or `run` zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub zero: bool,
    pub at: u64,
    pub run: u32,
    pub stride: u32,
    pub rows: u32,
    pub plane_stride: u32,
    pub planes: u32,
}

impl Block {
    fn single(zero: bool, at: u64, run: u32) -> Self {
        Self {
            zero,
            at,
            run,
            stride: run,
            rows: 1,
            plane_stride: 0,
            planes: 1,
        }
    }
}

impl Walk {
    /// `length` words from `base` on.
    pub fn new(base: u64, length: u32, shape: &Shape) -> Self {
        let padded = shape.before != [0; 3] || shape.after != [0; 3];
        let mut wraps = shape.wraps.map(|wrap| if wrap == 0 { UNLIMITED } else { wrap });
        let mut steps = shape.steps;
        if !padded {
            merge(&mut wraps, &mut steps);
        }
        let mut spans = wraps;
        for dimension in 0..3 {
            if wraps[dimension] != UNLIMITED {
                spans[dimension] += shape.before[dimension] + shape.after[dimension];
            }
        }
        Self {
            left: length,
            base,
            wraps,
            before: shape.before,
            spans,
            steps,
            padded,
            at: [0; 4],
        }
    }

    /// Words of memory from the base on that are visited, the last one included; zero if all is padding.
    pub fn extent(&self) -> u64 {
        if !self.padded && self.left <= self.wraps[0] {
            return u64::from(self.left);
        }
        self.reach(2, u64::from(self.left))
    }

    /// Extent of `words` stream words from the start of dimension `level` + 1 on: whole items of `level` and a part of one.
    fn reach(&self, level: usize, words: u64) -> u64 {
        // Items of the dimension above `level` (D1 for level 0), which has padding of its own except for D3.
        let unit = self.unit(level);
        let (full, rest) = if unit == u64::MAX {
            (0, words)
        } else {
            (words / unit, words % unit)
        };
        let step = u64::from(self.steps[level]);
        let (before, wrap) = match level {
            2 => (0, u64::MAX),
            _ => (u64::from(self.before[level + 1]), u64::from(self.wraps[level + 1])),
        };
        let whole = full.saturating_sub(before).min(wrap);
        let mut extent = 0;
        if whole > 0 {
            let inner = self.inner(level, unit);
            if inner > 0 {
                extent = (whole - 1) * step + inner;
            }
        }
        if rest > 0 && full >= before && full - before < wrap {
            let inner = self.inner(level, rest);
            if inner > 0 {
                extent = extent.max((full - before) * step + inner);
            }
        }
        extent
    }

    /// Extent of `words` within one item of dimension `level` + 1.
    fn inner(&self, level: usize, words: u64) -> u64 {
        if level > 0 {
            return self.reach(level - 1, words);
        }
        words.saturating_sub(u64::from(self.before[0])).min(match self.wraps[0] {
            UNLIMITED => u64::MAX,
            wrap => u64::from(wrap),
        })
    }

    /// Stream words of one item of dimension `level` + 1; `u64::MAX` if there is only one.
    fn unit(&self, level: usize) -> u64 {
        let mut unit = 1u64;
        for span in &self.spans[..=level] {
            if *span == UNLIMITED {
                return u64::MAX;
            }
            unit *= u64::from(*span);
        }
        unit
    }

    /// What can be moved next without a change of pattern. There must be something left.
    #[inline]
    pub fn block(&self) -> Block {
        if self.padded {
            return self.padded_block();
        }
        let [d0, d1, d2, d3] = self.at;
        let at = self.base
            + u64::from(d0)
            + u64::from(d1) * u64::from(self.steps[0])
            + u64::from(d2) * u64::from(self.steps[1])
            + u64::from(d3) * u64::from(self.steps[2]);
        let whole = self.spans[0];
        if d0 != 0 || self.left < whole {
            return Block::single(false, at, (whole - d0).min(self.left));
        }
        let available = self.left / whole;
        let rows = (self.spans[1] - d1).min(available);
        // Whole planes from here on, if the first of them starts here.
        let planes = if d1 == 0 && rows == self.spans[1] && available > rows {
            (self.spans[2] - d2).min(available / rows)
        } else {
            1
        };
        Block {
            zero: false,
            at,
            run: whole,
            stride: self.steps[0],
            rows,
            plane_stride: self.steps[1],
            planes,
        }
    }

    fn padded_block(&self) -> Block {
        let one = |zero, at, run: u32| Block::single(zero, at, run.min(self.left));
        let [d0, d1, d2, d3] = self.at;
        let inside = |position: u32, dimension: usize| {
            position
                .checked_sub(self.before[dimension])
                .filter(|&index| index < self.wraps[dimension])
        };
        let (Some(row), Some(plane)) = (inside(d1, 1), inside(d2, 2)) else {
            return one(true, 0, self.spans[0] - d0);
        };
        let Some(word) = inside(d0, 0) else {
            let end = if d0 < self.before[0] { self.before[0] } else { self.spans[0] };
            return one(true, 0, end - d0);
        };
        let at = self.base
            + u64::from(word)
            + u64::from(row) * u64::from(self.steps[0])
            + u64::from(plane) * u64::from(self.steps[1])
            + u64::from(d3) * u64::from(self.steps[2]);
        one(false, at, self.wraps[0] - word)
    }

    /// Moves on by `words`, at most the block's run.
    #[inline]
    pub fn advance(&mut self, words: u32) {
        self.left -= words;
        self.at[0] += words;
        if self.at[0] >= self.spans[0] {
            self.at[0] = 0;
            self.next_row(1);
        }
    }

    /// Moves on by `rows` whole runs, at most the block's rows.
    #[inline]
    pub fn advance_rows(&mut self, rows: u32) {
        self.left -= rows * self.spans[0];
        self.next_row(rows);
    }

    /// Moves on by `planes` whole planes, at most the block's.
    #[inline]
    pub fn advance_planes(&mut self, planes: u32) {
        self.left -= planes * self.spans[0] * self.spans[1];
        self.next_plane(planes);
    }

    #[inline]
    fn next_row(&mut self, rows: u32) {
        self.at[1] += rows;
        if self.at[1] >= self.spans[1] {
            self.at[1] = 0;
            self.next_plane(1);
        }
    }

    #[inline]
    fn next_plane(&mut self, planes: u32) {
        self.at[2] += planes;
        if self.at[2] >= self.spans[2] {
            self.at[2] = 0;
            self.at[3] += 1;
        }
    }
}

/// Folds a dimension whose step continues the one below into it, so that runs are as long as they can be.
fn merge(wraps: &mut [u32; 3], steps: &mut [u32; 3]) {
    for _ in 0..3 {
        if wraps[0] == UNLIMITED || steps[0] != wraps[0] {
            return;
        }
        wraps[0] = wraps[0].saturating_mul(wraps[1]);
        *wraps = [wraps[0], wraps[2], UNLIMITED];
        *steps = [steps[1], steps[2], 1];
    }
}
