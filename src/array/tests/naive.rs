//! The order of a BD's words, written out one word at a time: what the fast walk is held against.

use super::super::walk::Shape;

/// For each stream word the memory word it comes from or goes to (`None`: a zero of padding), straight from the definition:
/// four nested counters, the outermost without end; a wrap of zero never ends either.
pub fn order(base: u64, length: u32, shape: &Shape) -> Vec<Option<u64>> {
    let mut out = Vec::new();
    let span = |dimension: usize| match shape.wraps[dimension] {
        0 => u64::MAX,
        wrap => u64::from(shape.before[dimension] + wrap + shape.after[dimension]),
    };
    let inside = |position: u64, dimension: usize| {
        let before = u64::from(shape.before[dimension]);
        let end = match shape.wraps[dimension] {
            0 => u64::MAX,
            wrap => before + u64::from(wrap),
        };
        (before..end).contains(&position).then(|| position - before)
    };
    let (mut d0, mut d1, mut d2, mut d3) = (0u64, 0u64, 0u64, 0u64);
    while out.len() < length as usize {
        out.push(match (inside(d0, 0), inside(d1, 1), inside(d2, 2)) {
            (Some(word), Some(row), Some(plane)) => Some(
                base + word
                    + row * u64::from(shape.steps[0])
                    + plane * u64::from(shape.steps[1])
                    + d3 * u64::from(shape.steps[2]),
            ),
            _ => None,
        });
        d0 += 1;
        if d0 == span(0) {
            (d0, d1) = (0, d1 + 1);
        }
        if d1 == span(1) {
            (d1, d2) = (0, d2 + 1);
        }
        if d2 == span(2) {
            (d2, d3) = (0, d3 + 1);
        }
    }
    out
}

/// Small deterministic random numbers.
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        (self.next() >> 11) as u32 % limit
    }

    /// True once in `chance` times.
    pub fn once_in(&mut self, chance: u32) -> bool {
        self.below(chance) == 0
    }
}

/// A shape with every dimension small enough to be crossed, and often a step that continues the dimension below.
pub fn shape(random: &mut Xorshift, padded: bool) -> Shape {
    let mut shape = Shape {
        wraps: [0; 3],
        steps: [1; 3],
        ..Shape::default()
    };
    let mut size = 1;
    for dimension in 0..3 {
        shape.wraps[dimension] = if random.once_in(6) {
            0
        } else {
            1 + random.below([9, 5, 3][dimension])
        };
        size *= shape.wraps[dimension].max(1);
        shape.steps[dimension] = if random.once_in(2) { size } else { random.below(40) };
        if padded {
            shape.before[dimension] = random.below(3);
            shape.after[dimension] = random.below(3);
        }
    }
    shape
}
