//! Stream switches: from their registers to where a stream of a DMA channel ends.

use crate::abi::array::{self as abi, switch_master, switch_slave, switch_slot};

use super::switch::KEPT;
use super::tile::{GRID_ROWS, Kind, Tile};

const PORTS: usize = abi::SWITCH_PORTS as usize;
const SLOTS: usize = abi::SWITCH_SLOTS as usize;

/// A tile's stream switch registers, by port number.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    pub masters: [u32; PORTS],
    pub slaves: [u32; PORTS],
    pub slots: [u32; PORTS * SLOTS],
    pub kept: [u32; KEPT],
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            masters: [0; PORTS],
            slaves: [0; PORTS],
            slots: [0; PORTS * SLOTS],
            kept: [0; KEPT],
        }
    }
}

/// Where a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    /// Index of the S2MM channel in the array.
    pub channel: u16,
    /// Links from tile to tile on the way.
    pub hops: u16,
    /// Whether a packet's header gets this far.
    pub header: bool,
}

/// All destinations of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    pub destinations: Vec<Destination>,
    /// Why the stream cannot flow: a branch that ends nowhere holds all of it back.
    pub dangling: Option<(u16, String)>,
}

/// A stream that comes back to a switch port it has passed, or carries no header where one is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misrouted {
    pub tile: u16,
    pub reason: String,
}

const NONE: u16 = u16::MAX;
/// Routes of a channel: without a packet header, and by packet id.
const ROUTES_PER_CHANNEL: usize = 33;

/// Routes found so far; forgotten when a switch is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    index: Vec<u16>,
    found: Vec<Route>,
}

impl Routes {
    pub fn new(channels: usize) -> Self {
        Self {
            index: vec![NONE; channels * ROUTES_PER_CHANNEL],
            found: Vec::new(),
        }
    }

    pub fn forget(&mut self) {
        if !self.found.is_empty() {
            self.index.fill(NONE);
            self.found.clear();
        }
    }

    #[inline]
    pub fn get(&self, route: usize) -> &Route {
        &self.found[route]
    }

    /// The route of MM2S channel `number` of `tile` (channel `channel` of the array) for a packet id, or for none.
    #[inline]
    pub fn find(
        &mut self,
        tiles: &[Tile],
        channel: u16,
        tile: usize,
        number: u8,
        packet: Option<u8>,
    ) -> Result<usize, Misrouted> {
        let slot = usize::from(channel) * ROUTES_PER_CHANNEL + packet.map_or(0, |id| 1 + usize::from(id & 31));
        if self.index[slot] == NONE {
            let route = resolve(tiles, tile, number, packet)?;
            self.index[slot] = self.found.len() as u16;
            self.found.push(route);
        }
        Ok(usize::from(self.index[slot]))
    }
}

/// What lies behind a master port.
enum Behind {
    Dma(u8),
    Slave(usize, u8),
    Nothing,
}

/// The slave port that MM2S channel `number` feeds.
fn dma_slave(kind: Kind, number: u8) -> u8 {
    match kind {
        Kind::Shim => abi::SHIM_SLAVE_DMA as u8 + number,
        Kind::Mem => abi::MEM_SLAVE_DMA[usize::from(number)] as u8,
        Kind::Core => abi::CORE_SLAVE_DMA as u8 + number,
    }
}

/// Position of `port` in a bundle of ports.
fn of(bundle: &[u32], port: u8) -> Option<usize> {
    bundle.iter().position(|&candidate| candidate == u32::from(port))
}

fn from(first: u32, count: u32, port: u8) -> Option<usize> {
    let index = u32::from(port).wrapping_sub(first);
    (index < count).then_some(index as usize)
}

const CORE_NORTHWARD: u32 = 8;

fn behind(tiles: &[Tile], tile: usize, port: u8) -> Behind {
    let kind = tiles[tile].kind;
    let last_row = tile % GRID_ROWS == GRID_ROWS - 1;
    let east = tile + GRID_ROWS;
    let west = tile.checked_sub(GRID_ROWS);
    let slave = |tile: usize, first: u32, index: usize| Behind::Slave(tile, first as u8 + index as u8);
    match kind {
        Kind::Shim => {
            if let Some(channel) = of(&abi::SHIM_MASTER_DMA, port) {
                return Behind::Dma(channel as u8);
            }
            if let Some(index) = of(&abi::SHIM_MASTER_NORTH, port) {
                return Behind::Slave(tile + 1, abi::MEM_SLAVE_SOUTH[index] as u8);
            }
            if let Some(index) = from(abi::SHIM_MASTER_EAST, abi::SWITCH_LATERAL, port)
                && east < tiles.len()
            {
                return slave(east, abi::SHIM_SLAVE_WEST, index);
            }
            if let (Some(index), Some(west)) = (from(abi::SHIM_MASTER_WEST, abi::SWITCH_LATERAL, port), west) {
                return slave(west, abi::SHIM_SLAVE_EAST, index);
            }
        }
        Kind::Mem => {
            if let Some(channel) = from(abi::MEM_MASTER_DMA, abi::MEM_S2MM, port) {
                return Behind::Dma(channel as u8);
            }
            if let Some(index) = of(&abi::MEM_MASTER_SOUTH, port) {
                return slave(tile - 1, abi::SHIM_SLAVE_NORTH, index);
            }
            if let Some(index) = from(abi::MEM_MASTER_NORTH, CORE_NORTHWARD, port) {
                return slave(tile + 1, abi::CORE_SLAVE_SOUTH, index);
            }
        }
        Kind::Core => {
            if let Some(channel) = from(abi::CORE_MASTER_DMA, abi::CORE_S2MM, port) {
                return Behind::Dma(channel as u8);
            }
            if let Some(index) = of(&abi::CORE_MASTER_SOUTH, port) {
                let below = if tiles[tile - 1].kind == Kind::Mem {
                    abi::MEM_SLAVE_NORTH
                } else {
                    abi::CORE_SLAVE_NORTH
                };
                return Behind::Slave(tile - 1, below[index] as u8);
            }
            if let Some(index) = from(abi::CORE_MASTER_NORTH, CORE_NORTHWARD, port)
                && !last_row
            {
                return slave(tile + 1, abi::CORE_SLAVE_SOUTH, index);
            }
            if let Some(index) = from(abi::CORE_MASTER_EAST, abi::SWITCH_LATERAL, port)
                && east < tiles.len()
            {
                return slave(east, abi::CORE_SLAVE_WEST, index);
            }
            if let (Some(index), Some(west)) = (from(abi::CORE_MASTER_WEST, abi::SWITCH_LATERAL, port), west) {
                return slave(west, abi::CORE_SLAVE_EAST, index);
            }
        }
    }
    Behind::Nothing
}

/// A place a stream has come to.
#[derive(Clone, Copy)]
struct Front {
    tile: usize,
    slave: u8,
    hops: u16,
    header: bool,
}

pub(super) fn resolve(tiles: &[Tile], tile: usize, number: u8, packet: Option<u8>) -> Result<Route, Misrouted> {
    let mut route = Route::default();
    let slave = dma_slave(tiles[tile].kind, number);
    let mut fronts = vec![Front {
        tile,
        slave,
        hops: 0,
        header: packet.is_some(),
    }];
    let mut visited = vec![0u32; tiles.len()];
    while let Some(front) = fronts.pop() {
        let here = &tiles[front.tile];
        let mark = 1u32 << front.slave;
        if visited[front.tile] & mark != 0 {
            let reason = format!(
                "its stream comes to slave port {} a second time: the switches form a loop",
                front.slave
            );
            return Err(Misrouted { tile: here.id(), reason });
        }
        visited[front.tile] |= mark;
        let before = route.destinations.len() + fronts.len();
        for master in 0..PORTS as u8 {
            let register = [here.switch.masters[usize::from(master)]];
            if !feeds(&here.switch, &register, &front, packet, here.id())? {
                continue;
            }
            let dropped = switch_master::PACKET.get(&register) != 0 && switch_master::DROP_HEADER.get(&register) != 0;
            let header = front.header && !dropped;
            match behind(tiles, front.tile, master) {
                Behind::Dma(channel) => {
                    let channel = here.first_channel + u16::from(channel);
                    route.destinations.push(Destination {
                        channel,
                        hops: front.hops,
                        header,
                    });
                }
                Behind::Slave(tile, slave) => fronts.push(Front {
                    tile,
                    slave,
                    hops: front.hops + 1,
                    header,
                }),
                Behind::Nothing => {
                    let reason = format!("master port {master} of the stream switch leads nowhere");
                    route.dangling = Some((here.id(), reason));
                }
            }
        }
        if route.destinations.len() + fronts.len() == before && route.dangling.is_none() {
            let reason = format!("no master port of the stream switch takes slave port {}", front.slave);
            route.dangling = Some((here.id(), reason));
        }
    }
    Ok(route)
}

/// Whether a master port with this register takes what is at `front`.
fn feeds(switch: &Switch, master: &[u32; 1], front: &Front, packet: Option<u8>, tile: u16) -> Result<bool, Misrouted> {
    let slave = [switch.slaves[usize::from(front.slave)]];
    if switch_slave::ENABLE.get(&slave) == 0 || switch_master::ENABLE.get(master) == 0 {
        return Ok(false);
    }
    let by_packet = switch_slave::PACKET.get(&slave) != 0;
    if by_packet != (switch_master::PACKET.get(master) != 0) {
        return Ok(false);
    }
    let select = switch_master::SELECT.get(master);
    if !by_packet {
        return Ok(select == u32::from(front.slave));
    }
    let Some(id) = packet.filter(|_| front.header) else {
        let reason = format!(
            "a stream without a packet header comes to slave port {}, which is packet-switched",
            front.slave
        );
        return Err(Misrouted { tile, reason });
    };
    let first = usize::from(front.slave) * SLOTS;
    let slot = switch.slots[first..first + SLOTS].iter().map(|&slot| [slot]).find(|slot| {
        switch_slot::ENABLE.get(slot) != 0 && switch_slot::ID.get(slot) == u32::from(id) & switch_slot::MASK.get(slot)
    });
    Ok(slot.is_some_and(|slot| {
        select & 7 == switch_slot::ARBITER.get(&slot) && select >> 3 & 1 << switch_slot::MSEL.get(&slot) != 0
    }))
}
