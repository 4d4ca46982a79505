// Clients at the same position share WAL that one of them has read (`relay::SharedWal`): they use
// one `CheckedWal`, read by the first of their threads to reach its end, in pieces of half a
// megabyte that are verified where they were read and never copied, except to the socket. One call
// sends the four messages of a piece (`Outgoing`), so the client is woken once, not four times.
// While the sessions send, one thread for all of them reads the next piece: one CPU decompresses
// and verifies while the other sends, also for a single client. It is started once there is more to
// read than one piece. A session that finds the next piece not begun reads it itself. Nothing
// beyond the requesting client's limit is read. The last 4 MB stay in memory, 16 MB if clients are
// at many positions. A client that falls further behind, or is stopped, reads for itself until it
// reaches a position that another one has in memory. 50 clients therefore need no more memory than
// a few. A thread that is half a megabyte ahead yields to those that only wait for a CPU (not to
// one that waits for its client, and for 20 ms at most). Without that, eight threads on two CPUs
// get 10 to 30 MB apart in one time slice each, and all of them read for themselves. Also, data
// sent soon after it was read comes from the CPU's cache, which halves the time. Shared WAL was
// durable and verified when it was read, and WAL bytes do not change, so it needs no second check,
// regardless of what happens to the file (P10, P11). Each client's own limit
// (`--serve-synchronized-standbys`, the end of a timeline) cuts what it gets. An error ends the
// shared reader, and each client then encounters it on its own, so that a repaired file is reread.

#include "relay/shared_wal.h"

#include <algorithm>
#include <deque>
#include <span>
#include <system_error>
#include <utility>

#include "archive/look_again.h"

namespace weir::relay {

namespace {

/// Most incomplete records are smaller.
constexpr std::size_t kMostLeft = std::size_t{64} << 10;
/// Pieces may be small, and each of them has a cost in addition to its bytes.
constexpr std::size_t kMostPieces = 1024;

}  // namespace

/// A reader, and the last of what it has read.
struct SharedWal::Flow {
  struct Piece {
    wal::Lsn begin;
    WalPiece piece;
  };

  Flow(wal::TimelineHistory of, wal::Lsn from, Threads& threads)
      : history(std::move(of)), end(from), has_changed(threads.make_condition()) {}

  /// True if there are bytes in memory at that position.
  [[nodiscard]] bool has(wal::Lsn from) const {
    return !pieces.empty() && pieces.front().begin <= from && from < end;
  }
  /// Returns these.
  [[nodiscard]] WalPiece at(wal::Lsn from, wal::Lsn limit) const {
    const auto behind =
        std::upper_bound(pieces.begin(), pieces.end(), from,
                         [](wal::Lsn at, const Piece& piece) { return at < piece.begin; });
    const auto& found = *std::prev(behind);
    auto rest = found.piece.wal.subspan(from - found.begin);
    if (limit - from < rest.size()) rest = rest.first(limit - from);
    return {rest, found.piece.memory};
  }
  /// True if a reader is this far behind.
  [[nodiscard]] bool leaves_behind(std::size_t distance) const {
    return std::any_of(readers.begin(), readers.end(), [&](const Reader* reader) {
      return reader->active_ && reader->at_ < end && end - reader->at_ > distance;
    });
  }
  [[nodiscard]] WalPiece take_first() {
    auto first = std::move(pieces.front().piece);
    kept -= first.wal.size();
    pieces.pop_front();
    return first;
  }

  const wal::TimelineHistory history;
  std::optional<CheckedWal> wal;  ///< of the reading session; its next bytes are at `end`

  // Guarded by SharedWal::mutex_.
  bool reading = false;      ///< a session is; only that one moves `end`
  std::deque<Piece> pieces;  ///< without holes, up to `end`
  std::size_t kept = 0;      ///< bytes of these
  wal::Lsn end;
  bool ended = false;  ///< it reads nothing any more
  bool asked = false;  ///< the thread is to read ahead
  /// Found by the thread that reads ahead: for the session that comes next.
  std::optional<Error> passed_over;
  std::vector<const Reader*> readers;
  std::size_t waiting = 0;  ///< of these, for the reading one, or for others to come nearer
  const std::unique_ptr<Threads::Condition> has_changed;
};

SharedWal::SharedWal(io::Shelf& archive, const Cluster& cluster, Threads& threads,
                     const Options& options)
    : archive_(archive),
      cluster_(cluster),
      threads_(threads),
      options_(options),
      mutex_(threads.make_mutex()),
      has_asked_(threads.make_condition()) {}

SharedWal::~SharedWal() {
  {
    const Threads::Lock lock(*mutex_);
    stopping_ = true;
    has_asked_->notify_all();
  }
  thread_.reset();
  PGWEIR_CHECK(flows_.empty());
}

/// A file that vanishes while it is read was pruned, or its format changed: another look-up
/// decides.
SharedWal::Read SharedWal::read(Reader& reader, const wal::TimelineHistory& history, wal::Lsn from,
                                wal::Lsn limit) {
  return archive::look_again(archive::kMostLooksAtSegment,
                             [&] { return read_once(reader, history, from, limit); });
}

SharedWal::Read SharedWal::read_once(Reader& reader, const wal::TimelineHistory& history,
                                     wal::Lsn from, wal::Lsn limit) {
  PGWEIR_CHECK(from < limit);
  Flows unused;  // they go when the lock is released, and close files
  Threads::Lock lock(*mutex_);
  reader.active_ = true;
  if (std::exchange(reader.at_, from) != from && reader.flow_) has_moved(*reader.flow_);
  std::optional<Threads::Time> patient_until;
  for (;;) {
    auto piece = find(reader, history, from, limit, unused);
    auto& flow = *reader.flow_;
    if (piece) {
      ask_ahead(reader.flow_, limit);
      return {std::move(*piece), std::nullopt, std::exchange(flow.passed_over, std::nullopt)};
    }
    if (flow.reading) {
      wait(flow, lock, std::nullopt);
      continue;
    }
    const bool waits = patient_until || flow.waiting > 0;
    if (!flow.leaves_behind(waits ? options_.apart / 2 : options_.apart)) break;
    // Each of those gets a CPU soon, so the wait is short; it is limited in any case.
    const auto now = threads_.now();
    if (!patient_until) patient_until = now + options_.patience;
    if (now >= *patient_until) break;
    wait(flow, lock, patient_until);
  }
  auto next = read_next(*reader.flow_, limit, lock);
  if (!next.piece.empty()) {  // sessions that reach the position after it look it up again
    ask_ahead(reader.flow_, limit);
    return {std::move(next.piece), std::nullopt, std::move(next.passed_over)};
  }
  if (next.failure) std::rethrow_exception(next.failure);
  return next;
}

/// Finds the bytes in the memory of a flow. Otherwise the reader joins a flow that continues at
/// that position.
std::optional<WalPiece> SharedWal::find(Reader& reader, const wal::TimelineHistory& history,
                                        wal::Lsn from, wal::Lsn limit, Flows& unused) {
  auto& mine = reader.flow_;
  const auto change_to = [&](const std::shared_ptr<Flow>& flow) {
    if (flow == mine) return;
    if (mine) {
      forget(reader);
      unused.push_back(mine);
    }
    flow->readers.push_back(&reader);
    mine = flow;
  };
  // The one that is furthest ahead, the first of several, so that sessions at the same position
  // soon share one.
  std::shared_ptr<Flow> ahead;
  std::shared_ptr<Flow> goes_on;
  for (const auto& flow : flows_) {
    if (flow->history != history) continue;
    if (flow->has(from) && (!ahead || ahead->end < flow->end)) ahead = flow;
    // The first of several, so that all clients that have caught up share one.
    if (!goes_on && flow->end == from) goes_on = flow;
  }
  // (Its own may have ended.)
  if (mine && mine->history == history && mine->has(from) && (!ahead || ahead->end < mine->end))
    ahead = mine;
  if (ahead) {
    change_to(ahead);
    return ahead->at(from, limit);
  }
  if (!goes_on) {
    goes_on = std::make_shared<Flow>(history, from, threads_);
    flows_.push_back(goes_on);
  }
  change_to(goes_on);
  return std::nullopt;
}

void SharedWal::wait(Flow& flow, Threads::Lock& lock, std::optional<Threads::Time> until) {
  ++flow.waiting;
  if (until)
    flow.has_changed->wait_until(lock, *until);
  else
    flow.has_changed->wait(lock);
  --flow.waiting;
}

/// A reader of the flow has advanced, or has left: one of the waiting ones may continue.
void SharedWal::has_moved(Flow& flow) const {
  if (flow.waiting > 0 && !flow.reading && !flow.leaves_behind(options_.apart / 2))
    flow.has_changed->notify_one();
}

/// Some session sends the last WAL that was read, none is far behind it, and there is much more.
bool SharedWal::is_to_be_read_ahead(const Flow& flow, wal::Lsn limit) const {
  const auto piece = ahead();
  return !flow.reading && !flow.ended && flow.end < limit && limit - flow.end >= piece &&
         !flow.leaves_behind(piece) &&
         std::any_of(flow.readers.begin(), flow.readers.end(), [&](const Reader* reader) {
           return reader->at_ >= flow.end || flow.end - reader->at_ <= piece;
         });
}

/// Called by a session that has WAL to send. (An error in the next bytes is met by the session that
/// requests them.)
void SharedWal::ask_ahead(const std::shared_ptr<Flow>& flow, wal::Lsn limit) {
  if (flow->asked || !is_to_be_read_ahead(*flow, limit)) return;
  if (!thread_) {
    try {
      thread_ = threads_.start("wal ahead", [this] { read_ahead(); });
    } catch (const std::system_error&) {
      return;  // no thread can be started: each session reads before it sends
    }
  }
  flow->asked = true;
  asked_.push_back({flow, limit});
  has_asked_->notify_one();
}

/// The thread that reads ahead. What a session has read meanwhile by itself is left out.
void SharedWal::read_ahead() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    has_asked_->wait(lock, [this] { return stopping_ || !asked_.empty(); });
    if (stopping_) return;
    auto [flow, limit] = std::move(asked_.front());
    asked_.pop_front();
    flow->asked = false;
    while (!stopping_ && is_to_be_read_ahead(*flow, limit)) {
      auto next = read_next(*flow, limit, lock);
      if (next.passed_over) flow->passed_over = std::move(next.passed_over);
      if (next.piece.empty()) break;
    }
    lock.unlock();
    flow.reset();  // not under the lock: it may be the last one, and closes files
    lock.lock();
  }
}

/// Reads the WAL after the end of the flow, which no other session reads. The lock is released
/// meanwhile.
SharedWal::Next SharedWal::read_next(Flow& flow, wal::Lsn limit, Threads::Lock& lock) {
  const auto most = ahead();
  flow.reading = true;
  lock.unlock();
  Next next;
  std::vector<WalPiece> unused;
  try {
    next = read_on(flow, limit, most);
  } catch (const std::exception&) {
    next.failure = std::current_exception();
  }
  lock.lock();
  flow.reading = false;
  try {
    if (!next.piece.empty()) unused = keep(flow, next.piece);
  } catch (const std::exception&) {
    next.failure = std::current_exception();
  }
  if (next.failure || next.trouble) end(flow);
  if (flow.waiting > 0) flow.has_changed->notify_all();
  if (!unused.empty()) {  // not under the lock: it is a lot of memory
    lock.unlock();
    unused.clear();
    lock.lock();
  }
  return next;
}

/// The flow's end does not move meanwhile.
SharedWal::Next SharedWal::read_on(Flow& flow, wal::Lsn limit, std::size_t most) {
  Next next;
  // (With room for an incomplete record of the piece before.)
  auto wal = memory_.take(std::min<std::uint64_t>(most + kMostLeft, limit - flow.end));
  try {
    if (!flow.wal) flow.wal.emplace(archive_, cluster_, flow.history, flow.end);
    PGWEIR_CHECK(flow.wal->position() == flow.end);
    do {
      auto read = flow.wal->read(limit, std::max(most - wal.size(), 2 * wal::kPageSize));
      if (read.passed_over) next.passed_over = std::move(read.passed_over);
      if (read.trouble) next.trouble = std::move(read.trouble);
      if (read.wal.empty()) break;
      if (wal.empty() && read.wal.size() >= most / 2) {
        if (auto memory = flow.wal->hand_over(read.wal, wal)) {
          next.piece = memory_.keep(std::move(*memory), read.wal);
          return next;
        }
      }
      wal.append(read.wal);
    } while (wal.size() + CheckedWal::kMostRead <= most && flow.wal->position() < limit);
  } catch (const std::exception&) {
    // The bytes read before are valid.
    next.failure = std::current_exception();
  }
  if (wal.empty()) return next;
  // (A buffer that is moved moves no byte.)
  const std::span<const std::byte> content = wal;
  next.piece = memory_.keep(std::move(wal), content);
  return next;
}

/// Not so much that it would be dropped before any client has had it.
std::size_t SharedWal::ahead() const {
  return std::min({options_.ahead, options_.window / 2, options_.memory / 2 / (flows_.size() + 1)});
}

/// Adds it as the flow's last piece. Returns the pieces that no longer fit.
std::vector<WalPiece> SharedWal::keep(Flow& flow, const WalPiece& piece) {
  std::vector<WalPiece> unused;
  flow.pieces.push_back({flow.end, piece});
  flow.kept += piece.wal.size();
  flow.end = flow.end + piece.wal.size();
  while (flow.pieces.size() > 1 &&
         (flow.kept > options_.window || flow.pieces.size() > kMostPieces))
    unused.push_back(flow.take_first());
  for (;;) {
    std::size_t kept = 0;
    auto* largest = &flow;
    for (const auto& each : flows_) {
      kept += each->kept;
      if (each->kept > largest->kept) largest = each.get();
    }
    if (kept <= options_.memory || largest->pieces.size() <= 1) return unused;
    unused.push_back(largest->take_first());
  }
}

/// Readers that have not reached its end yet still get the bytes in memory.
void SharedWal::end(Flow& flow) {
  flow.ended = true;
  flows_.remove_if([&](const auto& each) { return each.get() == &flow; });
}

void SharedWal::pause(Reader& reader) {
  if (!reader.active_) return;
  const Threads::Lock lock(*mutex_);
  reader.active_ = false;
  if (reader.flow_) has_moved(*reader.flow_);
}

void SharedWal::leave(Reader& reader) {
  if (!reader.flow_) return;
  std::shared_ptr<Flow> unused;
  const Threads::Lock lock(*mutex_);
  reader.active_ = false;
  forget(reader);
  unused = std::exchange(reader.flow_, nullptr);
}

/// The reader still has the flow.
void SharedWal::forget(Reader& reader) {
  const auto& flow = reader.flow_;
  std::erase(flow->readers, &reader);
  has_moved(*flow);
  if (flow->readers.empty()) flows_.remove(flow);
}

}  // namespace weir::relay
