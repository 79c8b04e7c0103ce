//! The regions of an address space in order of address: a B+ tree that a change copies along one path.
//!
//! A table never changes, so readers need no lock. [`Table::replace`] makes another that shares all nodes but those on the way to
//! what was replaced: its cost grows with the logarithm of the number of regions, and with nothing else.

use std::ops::Range;
use std::sync::Arc;

use super::region::Region;

/// Most entries of a node: what is copied in a change, and searched in a lookup, on each level.
const MOST: usize = 64;
/// A node with fewer is joined with a neighbour, so that the tree stays low when much of it was taken away.
const FEWEST: usize = MOST / 4;

/// Nodes of one level all are leaves, or none is. No node but an empty tree's root is empty.
#[derive(Clone)]
enum Node {
    Leaf(Vec<Region>),
    /// The first address below each child, and the children.
    Inner(Vec<u64>, Vec<Arc<Node>>),
}

/// Regions that do not overlap, in order of address.
pub(super) struct Table {
    root: Arc<Node>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(Vec::new())),
        }
    }
}

impl Table {
    /// The region that holds `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<&Region> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Inner(starts, children) => {
                    let index = starts.partition_point(|&start| start <= address);
                    node = &children[index.checked_sub(1)?];
                }
                Node::Leaf(regions) => {
                    let index = regions.partition_point(|region| region.start <= address);
                    let region = &regions[index.checked_sub(1)?];
                    return (address - region.start < region.length).then_some(region);
                }
            }
        }
    }

    /// The regions that overlap `[start, end)`, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> Vec<Region> {
        let mut found = Vec::new();
        self.root.collect(start, end, &mut found);
        found
    }

    /// The first region that overlaps `[start, end)`.
    pub fn first(&self, start: u64, end: u64) -> Option<Region> {
        self.root.first(start, end)
    }

    /// All regions, in order.
    pub fn all(&self) -> Vec<Region> {
        self.overlapping(0, u64::MAX)
    }

    /// A table without the regions that overlap `[start, end)` and with `new` in their place: regions in order that overlap no
    /// other one.
    pub fn replace(&self, start: u64, end: u64, new: &[Region]) -> Self {
        let mut nodes = self.root.replace(start, end, new);
        let mut root = loop {
            match nodes.len() {
                0 => break Arc::new(Node::Leaf(Vec::new())),
                1 => break nodes.remove(0),
                _ => nodes = inner(nodes),
            }
        };
        while let Node::Inner(_, children) = &*root
            && children.len() == 1
        {
            let only = children[0].clone();
            root = only;
        }
        Self { root }
    }
}

impl Node {
    fn start(&self) -> u64 {
        match self {
            Self::Leaf(regions) => regions[0].start,
            Self::Inner(starts, _) => starts[0],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(regions) => regions.len(),
            Self::Inner(_, children) => children.len(),
        }
    }

    fn collect(&self, start: u64, end: u64, found: &mut Vec<Region>) {
        match self {
            Self::Leaf(regions) => found.extend_from_slice(&regions[among_regions(regions, start, end)]),
            Self::Inner(starts, children) => {
                for child in &children[among_children(starts, start, end)] {
                    child.collect(start, end, found);
                }
            }
        }
    }

    fn first(&self, start: u64, end: u64) -> Option<Region> {
        match self {
            Self::Leaf(regions) => regions[among_regions(regions, start, end)].first().copied(),
            // What overlaps is in the first of these children or at the start of the second.
            Self::Inner(starts, children) => children[among_children(starts, start, end)]
                .iter()
                .find_map(|child| child.first(start, end)),
        }
    }

    /// What takes this node's place: nodes of its level, none if nothing is left.
    fn replace(&self, start: u64, end: u64, new: &[Region]) -> Vec<Arc<Self>> {
        match self {
            Self::Leaf(regions) => {
                let gone = among_regions(regions, start, end);
                let mut left = Vec::with_capacity(regions.len() + new.len());
                left.extend_from_slice(&regions[..gone.start]);
                left.extend_from_slice(new);
                left.extend_from_slice(&regions[gone.end..]);
                leaves(left)
            }
            Self::Inner(starts, children) => {
                let gone = among_children(starts, start, end);
                let mut nodes = children[gone.start].replace(start, end, new);
                // Children between the first and the last hold nothing but what is to go.
                if gone.len() > 1 {
                    nodes.extend(children[gone.end - 1].replace(start, end, &[]));
                }
                let seam = gone.start..gone.start + nodes.len();
                let mut left = Vec::with_capacity(children.len() + 2);
                left.extend_from_slice(&children[..gone.start]);
                left.append(&mut nodes);
                left.extend_from_slice(&children[gone.end..]);
                join_small(&mut left, seam);
                inner(left)
            }
        }
    }
}

/// Which regions of a leaf overlap `[start, end)`.
fn among_regions(regions: &[Region], start: u64, end: u64) -> Range<usize> {
    let first = regions.partition_point(|region| region.end() <= start);
    let last = regions.partition_point(|region| region.start < end);
    first..last.max(first)
}

/// Which children can hold regions that overlap `[start, end)`, or take one that is put there; at least one. All that the children
/// before them hold ends at or before `start`.
fn among_children(starts: &[u64], start: u64, end: u64) -> Range<usize> {
    let first = starts.partition_point(|&at| at <= start).saturating_sub(1);
    let last = starts.partition_point(|&at| at < end);
    first..last.max(first + 1)
}

/// Joins nodes of `seam` that became too small with a neighbour.
fn join_small(nodes: &mut Vec<Arc<Node>>, seam: Range<usize>) {
    let Range { start: mut at, mut end } = seam;
    while at < end && nodes.len() > 1 {
        if nodes[at].len() >= FEWEST {
            at += 1;
            continue;
        }
        let left = at.min(nodes.len() - 2);
        let joined = join(&nodes[left], &nodes[left + 1]);
        if joined.len() == 1 {
            end -= 1;
            at = left;
        } else {
            at = left + 2;
        }
        nodes.splice(left..left + 2, joined);
    }
}

fn join(left: &Node, right: &Node) -> Vec<Arc<Node>> {
    match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => leaves([&left[..], right].concat()),
        (Node::Inner(_, left), Node::Inner(_, right)) => inner([&left[..], right].concat()),
        _ => unreachable!("neighbours are of one level"),
    }
}

fn leaves(regions: Vec<Region>) -> Vec<Arc<Node>> {
    if regions.len() <= MOST && !regions.is_empty() {
        return vec![Arc::new(Node::Leaf(regions))];
    }
    parts(&regions).map(|part| Arc::new(Node::Leaf(part.to_vec()))).collect()
}

fn inner(children: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let node = |children: Vec<Arc<Node>>| {
        let starts = children.iter().map(|child| child.start()).collect();
        Arc::new(Node::Inner(starts, children))
    };
    if children.len() <= MOST && !children.is_empty() {
        return vec![node(children)];
    }
    parts(&children).map(|part| node(part.to_vec())).collect()
}

/// As few parts as hold all entries, of the same size.
fn parts<T>(entries: &[T]) -> impl Iterator<Item = &[T]> {
    let count = entries.len().div_ceil(MOST);
    entries.chunks(entries.len().div_ceil(count.max(1)).max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// xorshift64: the same numbers every time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    /// The depth below a node, once its sizes, order and starts are as they must be.
    fn sound(node: &Node, root: bool) -> usize {
        assert!(node.len() <= MOST);
        assert!(root || node.len() >= FEWEST, "{} entries", node.len());
        match node {
            Node::Leaf(regions) => {
                assert!(regions.windows(2).all(|pair| pair[0].end() <= pair[1].start));
                0
            }
            Node::Inner(starts, children) => {
                assert!(children.len() > 1 || !root);
                let real: Vec<u64> = children.iter().map(|child| child.start()).collect();
                assert_eq!(starts, &real);
                assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
                let depths: Vec<usize> = children.iter().map(|child| sound(child, false)).collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                1 + depths[0]
            }
        }
    }

    /// Regions by start, as a map of the standard library has them.
    type Model = BTreeMap<u64, u64>;

    fn overlapping(model: &Model, start: u64, end: u64) -> Vec<(u64, u64)> {
        let before = model.range(..start).next_back().filter(|(at, length)| *at + *length > start);
        before
            .into_iter()
            .chain(model.range(start..end))
            .map(|(a, b)| (*a, *b))
            .collect()
    }

    fn plain(regions: &[Region]) -> Vec<(u64, u64)> {
        regions.iter().map(|region| (region.start, region.length)).collect()
    }

    /// Maps and unmaps at random in a small and a large space of addresses, growing and shrinking.
    #[test]
    fn it_is_what_an_ordinary_map_is() {
        for (seed, span, longest) in [(1, 60, 8), (2, 4_000, 40), (3, 60_000, 3), (4, 1 << 40, 1 << 20)] {
            let (mut numbers, mut table, mut model) = (Numbers(seed), Table::default(), Model::new());
            for step in 0..12_000 {
                let (start, length) = (numbers.below(span), 1 + numbers.below(longest));
                // Every now and then a wide range goes.
                let wide = step % 500 == 499;
                let end = start + if wide { span / 3 } else { length };
                let there = overlapping(&model, start, end);
                assert_eq!(plain(&table.overlapping(start, end)), there);
                assert_eq!(
                    table.first(start, end).map(|region| (region.start, region.length)),
                    there.first().copied()
                );
                if there.is_empty() && !wide {
                    table = table.replace(start, end, &[Region::reserved(start, length)]);
                    model.insert(start, length);
                } else if wide || numbers.below(3) == 0 {
                    let kept: Vec<Region> = there
                        .iter()
                        .flat_map(|&(at, length)| [(at, start.min(at + length)), (end.max(at), at + length)])
                        .filter(|(low, high)| low < high)
                        .map(|(low, high)| Region::reserved(low, high - low))
                        .collect();
                    table = table.replace(start, end, &kept);
                    model.retain(|at, _| !there.iter().any(|(gone, _)| gone == at));
                    model.extend(kept.iter().map(|region| (region.start, region.length)));
                }
                let address = numbers.below(span);
                let holder = overlapping(&model, address, address + 1).first().copied();
                assert_eq!(table.find(address).map(|region| (region.start, region.length)), holder);
                if step % 50 == 0 || wide {
                    sound(&table.root, true);
                    assert_eq!(plain(&table.all()), model.clone().into_iter().collect::<Vec<_>>());
                }
            }
            let empty = table.replace(0, u64::MAX, &[]);
            assert!(empty.all().is_empty() && empty.find(span / 2).is_none());
            assert_eq!(plain(&table.all()).len(), model.len(), "an older table is as it was");
        }
    }

    /// 65,535 regions, which is VFIO's limit, are at most four levels of nodes, in whatever order they came.
    #[test]
    fn it_is_low() {
        for step in [1u64, 65_535 - 1, 40_507] {
            let mut table = Table::default();
            for index in 0..65_535u64 {
                let start = index * step % 65_535 * 4096;
                table = table.replace(start, start + 4096, &[Region::reserved(start, 4096)]);
            }
            // Nodes are half full at least where entries only come: 32 * 32 * 32 * 32 is more.
            assert!(sound(&table.root, true) <= 3);
            for index in (0..65_535u64).filter(|index| index % 64 != 0) {
                table = table.replace(index * 4096, index * 4096 + 4096, &[]);
            }
            assert_eq!(table.all().len(), 1024);
            // A quarter full: 16 * 16 * 16 is more.
            assert!(sound(&table.root, true) <= 2);
        }
    }
}
