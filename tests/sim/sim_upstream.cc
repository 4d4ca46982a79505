#include "sim_upstream.h"

#include <algorithm>
#include <utility>

namespace weir::sim {

using wal::Lsn;

SimUpstream::SimUpstream(const Lineage& lineage, Options options, Random& random, Story& story)
    : lineage_(lineage), options_(options), random_(random), story_(story) {
  Node node;
  node.oldest = lineage.start();
  node.flush = std::min(lineage.start() + random.between(100, 3 * kSegmentBytes / 2),
                        lineage.timeline(1).received);
  node.standby = options.begins_as_standby;
  if (options.slot)
    node.slot = random.one_in(3) ? node.flush
                                 : lineage.start() + random.below(node.flush - lineage.start());
  nodes_.push_back(node);
  if (options.two_nodes) {
    node.standby = true;
    node.slot = options.slot ? std::optional(lineage.start()) : std::nullopt;
    nodes_.push_back(node);
  }
  if (options.sibling) {
    const auto& sibling = *lineage.sibling();
    Node foreign;
    foreign.up = false;
    foreign.foreign = foreign.sibling = true;
    foreign.oldest = lineage.start();
    foreign.timeline = sibling.id;
    foreign.flush = sibling.wal.end();
    nodes_.push_back(foreign);
    shift_ = random.below(nodes_.size());
  }
  if (options.foreign_host || options.other_branch) {
    Node foreign;
    foreign.up = false;
    foreign.foreign = true;
    foreign.oldest = lineage.start();
    foreign.flush = lineage.start() + 10 * kSegmentBytes;
    if (options.other_branch) {
      foreign.other_branch = true;
      foreign.timeline = lineage.newest();
      foreign.flush = lineage.timeline(lineage.newest()).received + 4 * kSegmentBytes;
    }
    if (options.slot) foreign.slot = foreign.flush;
    nodes_.push_back(foreign);
    shift_ = random.below(nodes_.size());
  }
}

Node& SimUpstream::primary() {
  // Of two that think so the one on the newer timeline; without any, the first (a standby whose own
  // upstream we don't see).
  Node* best = &nodes_.front();
  for (auto& node : nodes_)
    if (!node.foreign && !node.standby && (best->standby || node.timeline > best->timeline))
      best = &node;
  return *best;
}

bool SimUpstream::at_the_end() const {
  const auto& last = lineage_.timeline(lineage_.newest());
  return std::all_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return node.foreign || (node.up && node.timeline == last.id && node.flush == last.received);
  });
}

void SimUpstream::tick(bool calm) {
  calm_ = calm;
  auto& leader = primary();
  // New WAL. A primary that is left behind later writes more than its standby ever receives.
  if (leader.up && !leader.leaving && random_.one_in(calm ? 1 : 2)) {
    const auto& timeline = lineage_.timeline(leader.timeline);
    const bool alone =
        !calm && options_.two_nodes && !leader.standby && timeline.id != lineage_.newest();
    const auto limit = alone ? std::max(timeline.received, lineage_.end(timeline.id))
                             : std::max(timeline.received, leader.flush);
    leader.flush = std::min(limit, leader.flush + random_.any_size(calm ? 32 * 1024 : 16 * 1024));
  }
  for (auto& node : nodes_) {
    if (!node.up || node.leaving || &node == &leader) continue;
    if (node.foreign) continue;
    if (!node.standby) continue;  // an old primary: nobody writes there any more
    const auto& timeline = lineage_.timeline(node.timeline);
    const auto reach =
        node.timeline == leader.timeline ? leader.flush : std::max(node.flush, timeline.received);
    node.flush = std::max(
        node.flush, std::min({reach, timeline.received, node.flush + random_.any_size(16 * 1024)}));
    // A standby follows its upstream to the next timeline.
    if (leader.timeline > node.timeline && node.flush >= timeline.switchpoint &&
        random_.one_in(calm ? 1 : 4)) {
      node.flush = timeline.switchpoint;
      // What it had sent beyond the fork is not its own any more, and what recovery needs stays.
      if (node.slot && !node.slot_kept) node.slot = std::min(*node.slot, timeline.switchpoint);
      ++node.timeline;
      story_.tell("standby {} follows to timeline {}", &node - nodes_.data(), node.timeline);
    }
  }

  // Promotion: of the standby if there are two, else of the one that we see.
  if (leader.timeline < lineage_.newest() && random_.one_in(calm ? 2 : 12)) {
    const auto& timeline = lineage_.timeline(leader.timeline);
    if (!options_.two_nodes) {
      if (leader.up && leader.flush == timeline.received) promote(leader);
    } else {
      for (auto& node : nodes_) {
        if (node.foreign || &node == &leader || !node.up || !node.standby ||
            node.timeline != leader.timeline || node.flush != timeline.received)
          continue;
        go_down(leader);
        promote(node);
        break;
      }
    }
  }

  for (auto& node : nodes_) {
    if (node.foreign) continue;
    const auto index = &node - nodes_.data();
    if (!node.up) {
      if (random_.one_in(calm ? 3 : 15)) {
        node.up = true;
        story_.tell("node {} is up again on timeline {}{}", index, node.timeline,
                    node.standby ? "" : ", as a primary");
      }
    } else if (!calm && random_.one_in(300)) {
      go_down(node);
      story_.tell("node {} goes down", index);
    } else if (node.leaving) {
      // It waits for the walsender, which waits until everything is confirmed.
      const bool ours =
          connection_ != 0 && connected_ == static_cast<std::size_t>(index) && sender_;
      if (!ours || (sender_->sent >= sends_up_to() && all_is_confirmed())) {
        story_.tell("node {} has shut down", index);
        go_down(node);
      }
    } else if (options_.sends_away && !calm && random_.one_in(600)) {
      story_.tell("node {} shuts down", index);
      node.leaving = story_.now;
      if (sender_) sender_->turns_late = 0;
    }
    if (options_.removes_wal && random_.one_in(20)) remove_wal(node);
    if (options_.slot_trouble && !calm && random_.one_in(400)) {
      node.slot_trouble =
          random_.coin() ? Node::SlotTrouble::invalidated : Node::SlotTrouble::dropped;
      story_.tell("the slot on node {} is {}", index,
                  node.slot_trouble == Node::SlotTrouble::dropped ? "dropped" : "invalidated");
      if (connection_ != 0 && connected_ == static_cast<std::size_t>(index)) tell_walsender_to_go();
    }
  }
  if (options_.sends_away && !calm && random_.one_in(400)) tell_walsender_to_go();
  if (calm) repair();
  if (!calm && connection_ != 0 && random_.one_in(150)) {
    story_.tell("the connection breaks");
    connection_ = 0;
  }
}

void SimUpstream::go_down(Node& node) {
  node.up = false;
  node.leaving.reset();
  ++node.starts;
}

/// (No receiver confirms a part of a segment's first page header, and no server ends there.)
bool SimUpstream::all_is_confirmed() const {
  constexpr std::uint64_t kHeader = 40;
  const auto inside = kSegment.offset(sender_->sent);
  const auto last = inside < kHeader ? kSegment.start_of(sender_->sent) : sender_->sent;
  return sender_->confirmed >= last;
}

/// Where the walsender's timeline ends for now.
Lsn SimUpstream::sends_up_to() const {
  const auto& node = nodes_[connected_];
  return sender_->timeline < node.timeline ? lineage_.timeline(sender_->timeline).switchpoint
                                           : node.flush;
}

/// pg_terminate_backend(), or its slot is invalidated.
void SimUpstream::tell_walsender_to_go() {
  if (connection_ == 0 || !sender_ || sender_->told) return;
  const auto end = std::max(sends_up_to(), sender_->sent);
  sender_->told = story_.now;
  sender_->blocked = end - sender_->sent > kSocketBytes;
  sender_->last = std::min(end, sender_->sent + kSocketBytes);
  sender_->turns_late = 0;
  ++told_to_go_;
  story_.tell("the walsender is told to go{}", sender_->blocked ? ", and cannot see it" : "");
}

bool SimUpstream::shut_down_unconfirmed() {
  if (!options_.sends_away || !sender_ || sender_->question || connection_ == 0 ||
      all_is_confirmed())
    return false;
  auto& node = nodes_[connected_];
  if (!node.up || node.leaving || node.starts != connection_) return false;
  story_.tell("node {} shuts down, and waits for what is not confirmed", connected_);
  node.leaving = story_.now;
  return true;
}

/// A receiver whose disk has made no progress for 20 seconds asks the server whether it shuts down
/// (kAsksAnyway in stream_policy.cc). The guardian checks that once a second.
constexpr std::chrono::seconds kHeldUpMost{21};
/// Then the answer takes its time (seed 45136 of e94f7ac), and so does the disk's last progress
/// before it got stuck. Now and then a lot of time passes in a turn, so these are turns (446024 of
/// eb9f749).
constexpr std::uint64_t kTurnsLate = 100;
/// In quiet time a client that was not heard for so long is asked.
constexpr std::chrono::seconds kSilent{2};

std::string SimUpstream::held_up() {
  if (!sender_ || sender_->question || connection_ == 0) return {};
  const auto& node = nodes_[connected_];
  if (!node.up || node.starts != connection_) return {};
  const auto since = [&](receive::Time time) {
    return story_.now - std::max(time, sender_->moved) > kHeldUpMost;
  };
  const bool blocks = sender_->told && sender_->blocked && since(*sender_->told);
  const bool waits = node.leaving && since(*node.leaving);
  if (!blocks && !waits) sender_->turns_late = 0;
  if ((!blocks && !waits) || ++sender_->turns_late < kTurnsLate) return {};
  return blocks ? "the walsender was told to go, and blocks in a send"
                : "the server cannot shut down";
}

void SimUpstream::has_written(Lsn end) {
  if (auto& node = primary(); !node.standby) node.flush = std::max(node.flush, end);
}

void SimUpstream::promote(Node& node) {
  const auto switchpoint = lineage_.timeline(node.timeline).switchpoint;
  node.flush = switchpoint;
  ++node.timeline;
  node.standby = options_.begins_as_standby && !options_.two_nodes && random_.coin();
  // A server keeps what recovery from its last restart point needs, which begins before the fork.
  // (The slot keeper has to see to it by itself.)
  if (node.slot && !node.slot_kept) node.slot = std::min(*node.slot, switchpoint);
  story_.tell("node {} is {} timeline {} (switched at {})", &node - nodes_.data(),
              node.standby ? "taken to" : "promoted to", node.timeline, switchpoint);
}

void SimUpstream::repair() {
  auto& leader = primary();
  for (auto& node : nodes_)
    if (!node.foreign && &node != &leader && !node.standby && node.timeline < leader.timeline) {
      // Rewound: it has the WAL from the fork on.
      node.standby = true;
      node.flush = std::min(node.flush, lineage_.timeline(node.timeline).switchpoint);
      node.oldest = std::min(node.oldest, kSegment.start_of(node.flush));
      ++node.starts;
    }
}

bool SimUpstream::has_old_primary() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return !node.foreign && !node.standby &&
           std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& other) {
             return !other.foreign && other.timeline > node.timeline;
           });
  });
}

void SimUpstream::show_foreign(bool up, bool without_tail) {
  for (auto& node : nodes_)
    if (node.foreign && node.up != up) {
      node.up = up;
      ++node.starts;
      if (node.other_branch) {
        same_layout_ = !without_tail && random_.coin();
        // (Of WAL that fits, and of which nothing can be compared, nobody can know.)
        tail_removed_ = without_tail || (!same_layout_ && random_.coin());
      }
      story_.tell("the host of another {} {}{}{}", node.other_branch ? "branch" : "cluster",
                  up ? "answers" : "is taken out",
                  up && node.other_branch && same_layout_ ? ", with WAL that fits" : "",
                  up && tail_removed_ ? ", which has lost the end of the archive" : "");
    }
}

bool SimUpstream::foreign_is_up() const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [](const Node& node) { return node.foreign && node.up; });
}

bool SimUpstream::slot_is_in_trouble() const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [](const Node& node) { return node.slot_trouble != Node::SlotTrouble::none; });
}

void SimUpstream::repair_slots() {
  for (auto& node : nodes_) {
    if (node.slot_trouble == Node::SlotTrouble::none) continue;
    node.slot_trouble = Node::SlotTrouble::none;
    node.slot = node.flush;
    story_.tell("the slot on node {} is made anew", &node - nodes_.data());
  }
}

void SimUpstream::remove_wal(Node& node) {
  auto limit = kSegment.start_of(node.flush);
  if (node.slot && node.slot_trouble == Node::SlotTrouble::none)
    limit = std::min(limit, kSegment.start_of(*node.slot));
  // Recovery needs the record that is not complete yet, and before it the timeline may be left.
  const auto fork = lineage_.timeline(node.timeline).switchpoint;
  if (fork.valid() && node.flush >= fork) limit = std::min(limit, kSegment.start_of(fork));
  if (limit <= node.oldest) return;
  node.oldest =
      kSegment.start_of(node.oldest + (random_.coin() ? limit - node.oldest : kSegmentBytes));
  story_.tell("node {} removes its WAL before {}", &node - nodes_.data(), node.oldest);
}

Error SimUpstream::lost() const {
  return Error(ErrorKind::retry, "server closed the connection unexpectedly");
}

int SimUpstream::connect(int first_host) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const auto host = (static_cast<std::size_t>(first_host) + i) % nodes_.size();
    const auto index = (host + shift_) % nodes_.size();
    if (!nodes_[index].up || nodes_[index].leaving || nodes_[index].sibling) continue;
    connected_ = index;
    was_read_ = false;
    connection_ = nodes_[index].starts;
    sender_.reset();
    return static_cast<int>(host);
  }
  throw Error(ErrorKind::retry, "connection refused");
}

std::size_t SimUpstream::visit(std::size_t host) const {
  const auto index = (host + shift_) % nodes_.size();
  const auto& node = nodes_[index];
  const auto followed = [this](const Node& each) {
    return !each.foreign && each.up && !each.leaving && each.timeline == lineage_.newest();
  };
  if (!node.up || node.leaving ||
      (node.sibling && std::none_of(nodes_.begin(), nodes_.end(), followed)))
    throw Error(ErrorKind::retry, "connection refused");
  return index;
}

void SimUpstream::adopt(std::size_t node, std::uint64_t starts) {
  connected_ = node;
  connection_ = starts;
  was_read_ = false;
  sender_.reset();
}

/// Where a server has left a timeline that it is not on any more.
Lsn SimUpstream::switchpoint_of(const Node& node, wal::TimelineId timeline) const {
  return node.sibling && timeline + 1 == lineage_.newest()
             ? lineage_.sibling()->fork
             : lineage_.timeline(timeline).switchpoint;
}

pq::StreamEvent SimUpstream::peek(std::size_t of, Lsn lsn, wal::TimelineId timeline) const {
  const auto& node = nodes_[of];
  check_place(node, lsn, timeline);
  const bool historic = timeline < node.timeline;
  const auto end = historic ? switchpoint_of(node, timeline) : node.flush;
  if (lsn < end && lsn < node.oldest)
    throw Error(ErrorKind::gap, "requested WAL segment has already been removed")
        .with_sqlstate("58P01");
  if (lsn >= end && historic) return pq::EndOfStream{pq::EndOfStream::Next{timeline + 1, end}};
  if (lsn >= end) return pq::NothingYet{};
  const auto to = std::min(end, lsn + 512);
  return wire::XLogData{.start = lsn, .server_end = end, .wal = wal_of(node, timeline, lsn, to)};
}

void SimUpstream::disconnect() {
  connection_ = 0;
  sender_.reset();
}

bool SimUpstream::lost_connection() const {
  const auto& node = nodes_[connected_];
  return connection_ == 0 || !node.up || node.starts != connection_;
}

void SimUpstream::check_connection() {
  if (lost_connection()) {
    disconnect();
    throw lost();
  }
}

pq::SystemIdentity SimUpstream::identify() {
  check_connection();
  return identify(connected_);
}

pq::SystemIdentity SimUpstream::identify(std::size_t of) const {
  const auto& node = nodes_[of];
  return {.system_identifier =
              node.foreign && !node.other_branch && !node.sibling ? kSystem + 1 : kSystem,
          .timeline = node.timeline,
          // A server's flush position is the end of a page, or of a record with its padding. That
          // of a standby is, too: a walsender's messages end there. In the simulation messages end
          // anywhere, but the receiver need not expect a flush position inside the padding of a
          // record that the archive has completely (seed 302737 of e94f7ac).
          .flush_position = Lsn((node.flush.byte() + 7) / 8 * 8)};
}

pq::SlotState SimUpstream::read_slot() {
  check_connection();
  return read_slot(connected_);
}

pq::SlotState SimUpstream::read_slot(std::size_t of) const {
  const auto& node = nodes_[of];
  if (node.slot_trouble == Node::SlotTrouble::dropped) return {};
  if (node.slot_trouble == Node::SlotTrouble::invalidated)
    return {.exists = true, .type = "physical"};
  if (!node.slot) return {};
  // restart_timeline as the server finds it: the timeline of its history that has the position.
  wal::TimelineId timeline = node.timeline;
  while (timeline > 1 && *node.slot < lineage_.timeline(timeline).begin) --timeline;
  return {
      .exists = true, .type = "physical", .restart_lsn = node.slot, .restart_timeline = timeline};
}

std::string SimUpstream::history(wal::TimelineId timeline) {
  check_connection();
  return history(connected_, timeline);
}

std::string SimUpstream::history(std::size_t of, wal::TimelineId timeline) const {
  if (nodes_[of].sibling && timeline == nodes_[of].timeline) return lineage_.sibling()->history;
  return lineage_.history(timeline);
}

bool SimUpstream::create_slot() {
  check_connection();
  return create_slot(connected_);
}

/// (Of two that are on one timeline with one history nobody can tell by those.)
/// `end`: of its WAL, as the keeper was told.
void SimUpstream::check_ancestry(std::size_t of, Lsn end) const {
  const auto& node = nodes_[of];
  if (node.foreign && !node.other_branch && !node.sibling)
    throw Violation{"P16", "the slot keeper uses a slot on a server of another cluster"};
  if (node.foreign) return;
  const auto switchpoint = lineage_.timeline(node.timeline).switchpoint;
  // A visit that was under way when the archive came to its timeline may not know of that.
  constexpr std::uint64_t kUnderWay = 20;
  if (node.timeline < archived_timeline_ && end > switchpoint &&
      visits_ > archived_since_ + kUnderWay)
    throw Violation{"P16", fmt::format("the slot keeper uses a slot on timeline {}, which the "
                                       "server has up to {} and the archive has left at {}",
                                       node.timeline, end, switchpoint)};
}

bool SimUpstream::use_slot(std::size_t of, Lsn position, wal::TimelineId timeline,
                           std::optional<Lsn> flush) {
  auto& node = nodes_[of];
  if (!node.slot || node.slot_trouble == Node::SlotTrouble::dropped)
    throw Error(ErrorKind::refused, "replication slot \"weir\" does not exist")
        .with_sqlstate("42704");
  if (node.slot_trouble == Node::SlotTrouble::invalidated)
    throw Error(ErrorKind::refused, "can no longer access replication slot \"weir\"")
        .with_sqlstate("55000");
  if (connection_ != 0 && connected_ == of && sender_ && sender_->with_slot)
    throw Error(ErrorKind::retry, "replication slot \"weir\" is active").with_sqlstate("55006");
  if (timeline == node.timeline && position > node.flush)
    throw Error(ErrorKind::retry, "requested starting point is ahead of the WAL flush position")
        .with_sqlstate("XX000");
  if (timeline < node.timeline) return false;
  check_ancestry(of, position);
  if (!flush) return true;
  if (*flush < *node.slot)
    throw Violation{"P16", fmt::format("the slot keeper moves the slot on node {} back, from {} to "
                                       "{}",
                                       of, *node.slot, *flush)};
  if (*flush > durable_)
    throw Violation{"P16", fmt::format("the slot keeper moves the slot on node {} to {}, and only "
                                       "{} is durable",
                                       of, *flush, durable_)};
  // Promoted with no more than that, it would begin its timeline where the last whole record ends.
  if (!node.foreign && kSegment.start_of(lineage_.timeline(timeline).wal.fork_point(*flush)) <
                           kSegment.start_of(*flush))
    throw Violation{"P16", fmt::format("the slot keeper moves the slot on node {} to {}, within a "
                                       "record that begins in an earlier segment",
                                       of, *flush)};
  story_.tell("the slot on node {} is moved from {} to {}", of, *node.slot, *flush);
  node.slot = *flush;
  node.slot_kept = true;
  ++slots_moved_;
  return true;
}

bool SimUpstream::create_slot(std::size_t of) {
  auto& node = nodes_[of];
  if (node.slot && node.slot_trouble != Node::SlotTrouble::dropped) return false;
  // As ReplicationSlotReserveWal(): the last restart point's, whose WAL is there.
  node.slot = std::max(node.oldest, kSegment.start_of(node.flush));
  node.slot_trouble = Node::SlotTrouble::none;
  story_.tell("a slot is made on node {}, at {}", of, *node.slot);
  return true;
}

void SimUpstream::drop_slot() {
  check_connection();
  auto& node = nodes_[connected_];
  if (!node.slot)
    throw Error(ErrorKind::refused, "replication slot \"weir\" does not exist")
        .with_sqlstate("42704");
  node.slot.reset();
  story_.tell("the slot on node {} is dropped", connected_);
}

pq::SlotView SimUpstream::read_slot_view() const {
  const auto& node = const_cast<SimUpstream*>(this)->primary();
  pq::SlotView view;
  if (!node.up || node.leaving) throw Error(ErrorKind::retry, "connection refused");
  if (!node.slot || node.slot_trouble == Node::SlotTrouble::dropped) return view;
  view.exists = true;
  view.active = sender_ && sender_->with_slot;
  view.wal_status = node.slot_trouble == Node::SlotTrouble::invalidated ? "lost" : "reserved";
  return view;
}

std::span<const std::byte> SimUpstream::wal_of(const Node& node, wal::TimelineId timeline, Lsn from,
                                               Lsn to) const {
  if (node.sibling && timeline == node.timeline)
    return lineage_.sibling()->wal.bytes().subspan(from - lineage_.start(), to - from);
  if (!node.other_branch || timeline < node.timeline) return lineage_.bytes(timeline, from, to);
  const auto all = lineage_.other_branch()->wal(same_layout_).bytes();
  return all.subspan(from - lineage_.start(), to - from);
}

/// From where on the stream of another branch must not be followed.
void SimUpstream::find_other_wal(Lsn start, wal::TimelineId timeline) {
  other_wal_.reset();
  const auto& node = nodes_[connected_];
  if (!node.other_branch || timeline < node.timeline) return;
  const auto& branch = *lineage_.other_branch();
  const auto& theirs = branch.wal(same_layout_).records();
  const auto first = std::partition_point(theirs.begin(), theirs.end(), [&](const auto& each) {
    return each.end <= std::max(start, branch.fork);
  });
  other_wal_ = Lineage::Spot{first->start, first->start, first->end};
  // Two that name the same record before them cannot be told apart if that is all there is. Nor
  // can a record that is not there to its end; what there is of it may be written over.
  const auto& ours = lineage_.timeline(node.timeline).wal.records();
  const auto same = std::partition_point(
      ours.begin(), ours.end(), [&](const auto& each) { return each.start < first->previous; });
  const auto crossing = std::partition_point(ours.begin(), ours.end(),
                                             [&](const auto& each) { return each.end <= start; });
  const bool alike = same != ours.end() && same->start == first->previous;
  const bool crosses = crossing != ours.end() && crossing->start < start;
  if ((tail_removed_ && alike) || ((tail_removed_ || !was_read_) && crosses)) {
    show_foreign(false);
    check_connection();
  }
}

/// What START_REPLICATION is refused for.
void SimUpstream::check_place(const Node& node, Lsn lsn, wal::TimelineId timeline) const {
  if (timeline > node.timeline)
    throw Error(ErrorKind::retry, "requested timeline is not in this server's history")
        .with_sqlstate("XX000");
  if (timeline < node.timeline && lsn > switchpoint_of(node, timeline))
    throw Error(ErrorKind::retry, "requested starting point is not in this server's history")
        .with_sqlstate("XX000");
  if (timeline == node.timeline && lsn > node.flush)
    throw Error(ErrorKind::retry, "requested starting point is ahead of the WAL flush position")
        .with_sqlstate("XX000");
}

void SimUpstream::start(Lsn lsn, wal::TimelineId timeline, bool with_slot, bool question) {
  check_connection();
  if (!question) find_other_wal(lsn, timeline);
  const auto& node = nodes_[connected_];
  check_place(node, lsn, timeline);
  if (with_slot && (!node.slot || node.slot_trouble == Node::SlotTrouble::dropped))
    throw Error(ErrorKind::refused, "replication slot \"weir\" does not exist")
        .with_sqlstate("42704");
  if (with_slot && node.slot_trouble == Node::SlotTrouble::invalidated)
    throw Error(ErrorKind::refused, "can no longer access replication slot \"weir\"")
        .with_sqlstate("55000");
  sender_ =
      Sender{.timeline = timeline,
             .begin = lsn,
             .sent = lsn,
             .with_slot = with_slot,
             // (Before 15 nobody can ask a server where it is.)
             .slot_begun =
                 with_slot && node.slot && lineage_.server_major() >= 15 ? *node.slot : wal::Lsn(),
             .question = question,
             .heard = story_.now,
             .last = {},
             .confirmed = {},
             .moved = story_.now};
}

bool SimUpstream::readable() {
  if (lost_connection() || !sender_) return true;
  const auto& node = nodes_[connected_];
  const bool historic = sender_->timeline < node.timeline;
  const auto valid_up_to = historic ? lineage_.timeline(sender_->timeline).switchpoint : node.flush;
  keepalive_ = keepalive_ || random_.one_in(32);
  return historic || keepalive_ || sender_->answer_due || sender_->sent < valid_up_to ||
         (sender_->told && sender_->sent >= sender_->last) ||
         (node.leaving && sender_->heard_again);
}

/// To a question: what it has, and no more than that.
pq::StreamEvent SimUpstream::answer(Lsn valid_up_to) {
  const auto& node = nodes_[connected_];
  auto& sender = *sender_;
  if (sender.sent < node.oldest || (node.other_branch && tail_removed_)) {
    sender_.reset();
    throw Error(ErrorKind::gap, "requested WAL segment has already been removed")
        .with_sqlstate("58P01");
  }
  was_read_ = true;
  const auto from = sender.sent;
  sender.sent = from + std::min<std::uint64_t>(valid_up_to - from, 1 + random_.below(16 * 1024));
  auto wal = wal_of(node, sender.timeline, from, sender.sent);
  if (options_.damages && !calm_ && random_.one_in(4)) {
    damaged_wal_.assign(wal.begin(), wal.end());
    const auto of_byte = random_.below(8);
    const auto byte = random_.below(wal.size());
    // Two answers with the same bit wrong would say that the server has other WAL.
    if (compared_wrong_.emplace((from + byte).byte(), of_byte).second)
      damaged_wal_[byte] ^= std::byte{1} << of_byte;
    wal = damaged_wal_;
    story_.tell("a bit of what is only compared falls over");
  }
  return wire::XLogData{.start = from, .server_end = valid_up_to, .wal = wal};
}

pq::StreamEvent SimUpstream::next() {
  check_connection();
  damage_sent_.reset();
  if (!sender_) return pq::NothingYet{};
  const auto& node = nodes_[connected_];
  auto& sender = *sender_;
  const bool historic = sender.timeline < node.timeline;
  const auto valid_up_to = historic ? lineage_.timeline(sender.timeline).switchpoint : node.flush;

  if (sender.told && sender.sent >= sender.last) {
    disconnect();
    throw Error(ErrorKind::retry, "terminating walsender process due to administrator command")
        .with_sqlstate("57P01");
  }
  if (historic && sender.sent >= valid_up_to) {
    // Also when more was sent before the promotion: a standby sends what it has received, and the
    // timeline may have been left before the end of that.
    const pq::EndOfStream end{pq::EndOfStream::Next{sender.timeline + 1, valid_up_to}};
    sender_.reset();
    return end;
  }
  if (node.leaving && sender.sent >= valid_up_to && sender.heard_again) {
    // WalSndDone(): as soon as it has one answer it wants the next.
    sender.heard_again = false;
    return wire::Keepalive{.server_end = valid_up_to, .reply_requested = true};
  }
  if (sender.answer_due || std::exchange(keepalive_, false) || random_.one_in(16)) {
    sender.answer_due = false;
    // WalSndKeepaliveIfNecessary() asks one that was silent. A server that asks again and again is
    // one that shuts down: with --confirm stored, nothing is confirmed to it (seed 337177 of
    // dfe2d53c).
    const bool asks = random_.one_in(4) && (!calm_ || story_.now > sender.heard + kSilent);
    if (asks && !sender.asked) sender.asked = story_.now;  // (It is known when it was read.)
    return wire::Keepalive{.server_end = valid_up_to, .reply_requested = asks};
  }
  if (sender.sent >= valid_up_to) return pq::NothingYet{};
  if (sender.question) return answer(valid_up_to);
  if (sender.sent < node.oldest) {
    disconnect();
    throw Error(ErrorKind::gap, "requested WAL segment has already been removed")
        .with_sqlstate("58P01");
  }
  const auto most = std::min<std::uint64_t>(valid_up_to - sender.sent, 16 * 1024);
  auto size = random_.coin() ? most : random_.any_size(most);
  // (Of what is refused not even a page header that was cut is left; a walsender cuts none.)
  if (node.other_branch) size = std::max(size, std::min<std::uint64_t>(most, 64));
  const auto from = sender.sent;
  sender.sent = from + size;
  sender.moved = story_.now;
  sender.turns_late = 0;
  sender.blocked = false;
  auto wal = wal_of(node, sender.timeline, from, sender.sent);
  if (options_.damages && !calm_ && !damage_ && !node.foreign && random_.one_in(60)) {
    damage_ = lineage_.spot(sender.timeline, from, sender.sent, random_);
    damage_timeline_ = sender.timeline;
    damage_lasts_ = random_.one_in(3);
  }
  // What a stream begins in the middle of cannot be checked in it.
  if (damage_ && !calm_ && !node.foreign && from <= damage_->byte && damage_->byte < sender.sent &&
      sender.timeline == damage_timeline_ && sender.begin <= damage_->begin &&
      // A walsender cuts no page header.
      (!damage_->page_header || (from <= damage_->begin && damage_->begin + 40 <= sender.sent))) {
    damaged_wal_.assign(wal.begin(), wal.end());
    damaged_wal_[damage_->byte - from] ^= std::byte{1} << random_.below(8);
    wal = damaged_wal_;
    damage_sent_ = damage_;
    story_.tell("the byte at {} comes damaged", damage_->byte);
    if (!damage_lasts_) damage_.reset();
  }
  return wire::XLogData{.start = from, .server_end = valid_up_to, .wal = wal};
}

std::string SimUpstream::complaint() const {
  if (!sender_ || sender_->question || connection_ == 0) return {};
  const auto now = story_.now;
  if (now - sender_->heard > std::chrono::seconds(60))
    return "the server has heard nothing for wal_sender_timeout";
  if (sender_->asked && now - *sender_->asked > std::chrono::seconds(15))
    return "the server has asked for a reply, and it does not come";
  return {};
}

void SimUpstream::status(const wire::StandbyStatus& status) {
  check_connection();
  if (sender_) {
    sender_->heard = story_.now;
    sender_->asked.reset();
    sender_->heard_again = true;
    // Without a flush position WalSndDone() goes by what was written.
    const auto confirmed = status.flush.valid() ? status.flush : status.write;
    if (confirmed > sender_->confirmed) {
      sender_->confirmed = confirmed;
      sender_->moved = story_.now;
      sender_->turns_late = 0;
    }
    if (status.reply_requested) sender_->answer_due = true;
  }
  // As PhysicalConfirmReceivedLocation(): from now on what lies before may be removed.
  auto& node = nodes_[connected_];
  // (But a server that has just left the timeline keeps what recovery needs: from before the fork.)
  if (!node.slot || !status.flush.valid() || !sender_ || !sender_->with_slot) return;
  if (node.slot_trouble != Node::SlotTrouble::none) return;
  if (status.flush < std::min(sender_->slot_begun, node.flush))
    throw Violation{"P16", fmt::format("flush {} was reported, and the slot was at {} when the "
                                       "stream began",
                                       status.flush, sender_->slot_begun)};
  node.slot = status.flush;
  node.slot_kept = false;
  if (sender_ && sender_->timeline < node.timeline)
    node.slot = std::min(*node.slot, lineage_.timeline(sender_->timeline).switchpoint);
}

}  // namespace weir::sim
