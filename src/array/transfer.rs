//! Transfers: an MM2S channel and the S2MM channels its stream leads to, once all of them have a buffer descriptor.
//!
//! Streams buffer nothing here: words move when both ends are ready, as many as the shortest of the descriptors has left. A
//! packet ends where the MM2S descriptor does (unless it suppresses tlast); until then its destinations are its own.

use crate::abi::array::{self as abi, stream_packet_header};
use crate::abi::timing;
use crate::cert::fabric::{ArrayFault, Cycles};
use crate::memory::{HostMemory, MemoryFault, MemoryFaultKind};

use super::Array;
use super::channel::{Channel, Direction, NOBODY, State};
use super::copy;
use super::dma::out_of_order;
use super::trace::{Part, What};

/// Most words of one event: what is longer goes on in the next one, at no cost in simulated time, so that no descriptor keeps the
/// rest of the process waiting.
const CHUNK_WORDS: u32 = 1 << 16;

/// Whether an S2MM channel can take words, or a packet's header.
fn open(channel: &Channel) -> bool {
    matches!(channel.state, State::Ready | State::AwaitsPacket)
}

/// BDs that a channel of any tile can use.
const OUT_OF_ORDER_BDS: u32 = abi::CORE_BDS;

/// Whether a destination stores the header as data.
fn stores_header(channel: &Channel, header_arrives: bool) -> bool {
    header_arrives && !out_of_order(channel.control)
}

impl Array {
    /// Looks for a sender for an S2MM channel that has become open.
    pub(super) fn offer(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let receiver = &mut self.channels[index].receiver;
        if receiver.owner != NOBODY {
            let owner = usize::from(receiver.owner);
            return self.pair(at, owner);
        }
        if receiver.waiting.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut receiver.waiting);
        let mut tried = 0;
        let mut outcome = Ok(());
        while tried < waiting.len() && outcome.is_ok() {
            let channel = &self.channels[index];
            if !open(channel) || channel.receiver.owner != NOBODY {
                break;
            }
            let sender = usize::from(waiting[tried]);
            tried += 1;
            self.channels[sender].sender.waits_for = NOBODY;
            outcome = self.pair(at, sender);
        }
        waiting.drain(..tried);
        let receiver = &mut self.channels[index].receiver;
        waiting.append(&mut receiver.waiting);
        receiver.waiting = waiting;
        outcome
    }

    /// Takes a sender out of the wait list it is in.
    pub(super) fn stop_waiting(&mut self, sender: u16) {
        let waits_for = std::mem::replace(&mut self.channels[usize::from(sender)].sender.waits_for, NOBODY);
        if waits_for != NOBODY {
            self.channels[usize::from(waits_for)]
                .receiver
                .waiting
                .retain(|&waiting| waiting != sender);
        }
    }

    /// Gives up a sender's hold on its destinations; those that were taking words from it are open again.
    pub(super) fn part(&mut self, at: Cycles, sender: u16) -> Result<(), ArrayFault> {
        let partners = std::mem::take(&mut self.channels[usize::from(sender)].sender.partners);
        for partner in &partners {
            let index = usize::from(partner.channel);
            let channel = &mut self.channels[index];
            if channel.receiver.owner != sender {
                continue;
            }
            channel.receiver.owner = NOBODY;
            if channel.state == State::Moving {
                channel.state = State::Ready;
                channel.ready = at;
            }
            if open(&self.channels[index]) {
                self.offer(at, index)?;
            }
        }
        Ok(())
    }

    /// After a change of the stream switches: every sender looks for its way again.
    pub(super) fn reroute(&mut self, at: Cycles) -> Result<(), ArrayFault> {
        self.reroute_pending = false;
        for index in 0..self.channels.len() {
            let owner = self.channels[index].receiver.owner;
            if owner != NOBODY && self.channels[usize::from(owner)].state != State::Moving {
                self.channels[index].receiver.owner = NOBODY;
            }
        }
        for index in 0..self.channels.len() {
            if self.channels[index].direction == Direction::Mm2s {
                self.pair(at, index)?;
            }
        }
        Ok(())
    }

    /// Starts moving words from an MM2S channel if it and all its destinations are ready; else it waits for one that is not.
    pub(super) fn pair(&mut self, at: Cycles, sender: usize) -> Result<(), ArrayFault> {
        let channel = &self.channels[sender];
        if channel.direction != Direction::Mm2s || channel.state != State::Ready {
            return Ok(());
        }
        let entity = sender as u16;
        let (tile, number, packet) = (usize::from(channel.tile), channel.number, channel.sender.packet);
        if channel.sender.waits_for != NOBODY {
            self.stop_waiting(entity);
        }
        let route = match self.routes.find(&self.tiles, entity, tile, number, packet) {
            Ok(route) => route,
            Err(misrouted) => {
                let part = self.channels[sender].part();
                let tile = misrouted.tile;
                return Err(ArrayFault {
                    tile,
                    ..self.bd_fault(sender, format!("{part}: {}", misrouted.reason))
                });
            }
        };
        let route = self.routes.get(route);
        if route.dangling.is_some() || route.destinations.is_empty() {
            return Ok(());
        }
        let mut awaits_packet = false;
        let mut stores = false;
        for destination in &route.destinations {
            let channel = &mut self.channels[usize::from(destination.channel)];
            let owner = channel.receiver.owner;
            if !open(channel) || (owner != NOBODY && owner != entity) {
                if owner != entity {
                    channel.receiver.waiting.push(entity);
                    self.channels[sender].sender.waits_for = destination.channel;
                }
                return Ok(());
            }
            awaits_packet |= channel.state == State::AwaitsPacket;
            stores |= stores_header(channel, destination.header);
        }
        let source = &mut self.channels[sender];
        source.sender.partners.clear();
        source.sender.partners.extend_from_slice(&route.destinations);
        for destination in &route.destinations {
            self.channels[usize::from(destination.channel)].receiver.owner = entity;
        }
        if awaits_packet {
            return self.open_packet(at, sender);
        }
        if !stores {
            self.channels[sender].sender.header = None;
        }
        self.begin_chunk(at, sender);
        Ok(())
    }

    /// Lets a packet's header choose the BD of each out-of-order destination.
    fn open_packet(&mut self, at: Cycles, sender: usize) -> Result<(), ArrayFault> {
        let header = self.channels[sender].sender.header;
        // Destinations that become ready below must not start the transfer before all have.
        self.channels[sender].state = State::Moving;
        for index in 0..self.channels[sender].sender.partners.len() {
            let partner = self.channels[sender].sender.partners[index];
            let destination = usize::from(partner.channel);
            if self.channels[destination].state != State::AwaitsPacket {
                continue;
            }
            let Some(header) = header.filter(|_| partner.header) else {
                let reason =
                    "words without a packet header, or behind the end of the packet's BD, came to this out-of-order channel";
                return Err(self.channel_fault(destination, reason.to_owned()));
            };
            let bd = stream_packet_header::OUT_OF_ORDER_ID.get(&[header]);
            if bd >= OUT_OF_ORDER_BDS {
                let reason = format!("a packet names BD {bd}; the channel has BDs 0 to {}", OUT_OF_ORDER_BDS - 1);
                return Err(self.channel_fault(destination, reason));
            }
            self.channels[destination].bd = bd as u8;
            self.begin_bd(at, destination)?;
        }
        self.channels[sender].state = State::Ready;
        self.pair(at, sender)
    }

    /// Puts the next words of a sender on their way to its partners. A header goes alone, as a chunk of no words.
    fn begin_chunk(&mut self, at: Cycles, sender: usize) {
        let source = &self.channels[sender];
        let mut words = source.walk.left.min(CHUNK_WORDS);
        let mut start = at.max(source.ready);
        let mut set_up = source.fresh;
        let mut host_starts = source.fresh && source.host_side;
        let mut host = source.host_side;
        let mut hops = 0;
        for partner in &source.sender.partners {
            let channel = &self.channels[usize::from(partner.channel)];
            words = words.min(channel.walk.left);
            start = start.max(channel.ready);
            set_up |= channel.fresh;
            host |= channel.host_side;
            host_starts |= channel.fresh && channel.host_side;
            hops = hops.max(partner.hops);
        }
        if source.sender.header.is_some() {
            words = 0;
        }
        let rate = Cycles::from(if host {
            timing::HOST_BYTES_PER_CYCLE
        } else {
            timing::STREAM_BYTES_PER_CYCLE
        });
        let mut duration = (Cycles::from(words.max(1)) * 4).div_ceil(rate);
        if set_up {
            duration += Cycles::from(timing::BD_CYCLES);
        }
        if source.fresh {
            duration += Cycles::from(hops) * Cycles::from(timing::HOP_CYCLES);
        }
        if host_starts {
            duration += Cycles::from(timing::HOST_LATENCY_CYCLES);
        }
        for index in 0..self.channels[sender].sender.partners.len() {
            let partner = usize::from(self.channels[sender].sender.partners[index].channel);
            let channel = &mut self.channels[partner];
            channel.state = State::Moving;
            channel.fresh = false;
        }
        let source = &mut self.channels[sender];
        source.state = State::Moving;
        source.fresh = false;
        source.sender.chunk = words;
        source.sender.chunk_start = start;
        source.pending = self.events.push(start + duration, sender as u16);
    }

    /// The words on their way have arrived: moves the bytes and goes on with both ends.
    pub(super) fn end_chunk(&mut self, at: Cycles, sender: usize, host: &dyn HostMemory) -> Result<(), ArrayFault> {
        let partners = std::mem::take(&mut self.channels[sender].sender.partners);
        let header = self.channels[sender].sender.header.take();
        let words = self.channels[sender].sender.chunk;
        let moved = match header {
            Some(header) => self.store_header(header, &partners, host),
            None => self.move_words(sender, &partners, words, host),
        };
        self.channels[sender].sender.partners = partners;
        moved?;
        self.account(at, sender, words);
        let source = &mut self.channels[sender];
        let ended = header.is_none() && source.walk.left == 0;
        let packet_ended = ended && !source.descriptor.tlast_suppress;
        source.sender.in_packet = !packet_ended;
        let partners = std::mem::take(&mut source.sender.partners);
        if packet_ended {
            for partner in &partners {
                self.channels[usize::from(partner.channel)].receiver.owner = NOBODY;
            }
        }
        for partner in &partners {
            let index = usize::from(partner.channel);
            let channel = &mut self.channels[index];
            if channel.walk.left == 0 || (packet_ended && out_of_order(channel.control)) {
                self.end_bd(at, index)?;
            } else {
                channel.state = State::Ready;
                channel.ready = at;
                if packet_ended {
                    self.offer(at, index)?;
                }
            }
        }
        let source = &mut self.channels[sender];
        source.sender.partners = partners;
        if ended {
            return self.end_bd(at, sender);
        }
        source.state = State::Ready;
        source.ready = at;
        self.pair(at, sender)
    }

    fn account(&mut self, at: Cycles, sender: usize, words: u32) {
        let start = self.channels[sender].sender.chunk_start;
        let tracing = self.trace.is_some();
        for index in 0..=self.channels[sender].sender.partners.len() {
            let channel = match index {
                0 => sender,
                partner => usize::from(self.channels[sender].sender.partners[partner - 1].channel),
            };
            let channel = &mut self.channels[channel];
            channel.busy += at - start;
            channel.words += u64::from(words);
            if tracing {
                let (part, tile) = (Part::Channel(channel.direction, channel.number), usize::from(channel.tile));
                let bytes = u64::from(words) * 4;
                let energy = super::report::channel_energy(channel.host_side, bytes);
                let what = What::Moved { bd: channel.bd, bytes };
                self.record(start, tile, part, what, at - start, energy);
            }
        }
    }

    fn store_header(
        &mut self,
        header: u32,
        partners: &[super::stream::Destination],
        host: &dyn HostMemory,
    ) -> Result<(), ArrayFault> {
        for partner in partners {
            let index = usize::from(partner.channel);
            if stores_header(&self.channels[index], partner.header) {
                self.staging[..4].copy_from_slice(&header.to_le_bytes());
                self.scatter(index, 1, host).map_err(|fault| self.host_fault(index, fault))?;
            }
        }
        Ok(())
    }

    /// Moves `words` from the sender's memory to all partners'.
    fn move_words(
        &mut self,
        sender: usize,
        partners: &[super::stream::Destination],
        words: u32,
        host: &dyn HostMemory,
    ) -> Result<(), ArrayFault> {
        if let [partner] = partners
            && let Some(outcome) = self.move_directly(sender, usize::from(partner.channel), words, host)
        {
            return outcome;
        }
        let mut left = words;
        while left > 0 {
            let piece = left.min(copy::STAGING_WORDS);
            self.gather(sender, piece, host)
                .map_err(|fault| self.host_fault(sender, fault))?;
            for partner in partners {
                let index = usize::from(partner.channel);
                self.scatter(index, piece, host)
                    .map_err(|fault| self.host_fault(index, fault))?;
            }
            left -= piece;
        }
        Ok(())
    }

    /// Moves `words` between two tiles, or a tile and the host, without a buffer for all of them; `None` if the ends are the same
    /// tile's or both the host's.
    fn move_directly(
        &mut self,
        sender: usize,
        receiver: usize,
        words: u32,
        host: &dyn HostMemory,
    ) -> Option<Result<(), ArrayFault>> {
        let [source, target] = self.channels.get_disjoint_mut([sender, receiver]).ok()?;
        let (from_host, to_host) = (source.host_side, target.host_side);
        let (from_tile, to_tile) = (usize::from(source.tile), usize::from(target.tile));
        let (from, to) = (&mut source.walk, &mut target.walk);
        let moved = match (from_host, to_host) {
            (true, true) => return None,
            (true, false) => {
                let target = self.tiles[to_tile].memory.bytes_mut();
                copy::host_to_tile(host, from, target, to, words, &mut self.staging)
            }
            (false, true) => copy::tile_to_host(self.tiles[from_tile].memory.bytes(), from, host, to, words, &mut self.staging),
            (false, false) => {
                let [source, target] = self.tiles.get_disjoint_mut([from_tile, to_tile]).ok()?;
                let (source, target) = (source.memory.bytes(), target.memory.bytes_mut());
                copy::tile_to_tile(source, from, target, to, words, &mut self.staging);
                Ok(())
            }
        };
        let end = if from_host { sender } else { receiver };
        Some(moved.map_err(|fault| self.host_fault(end, fault)))
    }

    /// Takes the channel's next words to the staging buffer.
    fn gather(&mut self, index: usize, words: u32, host: &dyn HostMemory) -> Result<(), MemoryFault> {
        let channel = &mut self.channels[index];
        let staged = &mut self.staging[..words as usize * 4];
        if channel.host_side {
            return copy::read(host, &mut channel.walk, staged);
        }
        copy::gather(
            self.tiles[usize::from(channel.tile)].memory.bytes(),
            &mut channel.walk,
            staged,
        );
        Ok(())
    }

    /// Puts the staging buffer's first words where the channel's next words go.
    fn scatter(&mut self, index: usize, words: u32, host: &dyn HostMemory) -> Result<(), MemoryFault> {
        let channel = &mut self.channels[index];
        let staged = &self.staging[..words as usize * 4];
        if channel.host_side {
            return copy::write(host, staged, &mut channel.walk);
        }
        copy::scatter(
            staged,
            self.tiles[usize::from(channel.tile)].memory.bytes_mut(),
            &mut channel.walk,
        );
        Ok(())
    }

    fn host_fault(&mut self, index: usize, fault: MemoryFault) -> ArrayFault {
        let kind = match fault.kind {
            MemoryFaultKind::Unmapped => "is not mapped for this function (map the buffer before running)",
            MemoryFaultKind::Withdrawn => {
                "is the program's own, and the program has no such page any more: it unmapped or moved it, or ended"
            }
            MemoryFaultKind::Waits => "is a program's own, which can't be waited for here",
            MemoryFaultKind::Withheld => "is a program's own, and the program has kept its pages from the device too often",
            MemoryFaultKind::Permission => "is mapped without the permission this direction needs",
            MemoryFaultKind::Poisoned => "lost its backing memory (the file behind it was shortened)",
        };
        let raw = self.channels[index].descriptor.raw_address;
        let reason = format!(
            "{} bytes of host memory at {:#x} (BD address {raw:#x}): the range {kind}",
            fault.length, fault.address
        );
        self.bd_fault(index, reason)
    }
}
