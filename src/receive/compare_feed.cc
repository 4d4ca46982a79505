#include "receive/compare_feed.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/wal_reader.h"
#include "base/backoff.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "io/posix_directory.h"
#include "pq/connection.h"
#include "receive/feed_comparer.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using Duration = Threads::Time::duration;

/// Requested at once: this much is streamed by the reference server without a pause, and read into
/// memory from the archive meanwhile.
constexpr std::uint64_t kAtOnce = std::uint64_t{4} << 20;
/// Timeout for WAL that the server has reported to have.
constexpr auto kReferenceAnswersWithin = 30s;
/// Maximum delay of the receiver's shutdown.
constexpr auto kReferenceEndsWithin = 5s;
constexpr auto kLongestReferencePause = 60s;
/// Minimum interval of reports of differences; all are counted.
constexpr auto kTellEvery = 60s;

}  // namespace

/// Used by the thread only.
class CompareFeed::Work {
 public:
  explicit Work(CompareFeed& owner)
      : owner_(owner),
        directory_(owner.world_.open ? owner.world_.open()
                                     : io::open_existing_directory(owner.options_.archive)) {
    connect_.conninfo = owner.options_.conninfo;
    connect_.fallback_application_name = "pgweir compare";
  }

  /// Compares what is available. Returns how long to rest.
  Duration round();
  /// Ends comparing.
  void end() { drop_comparer(); }
  /// The round failed: the next one reconnects, and reads the archive's files again. A file that a
  /// person is copying there is too short for a while.
  void fail(const Error& error) {
    server_.reset();
    reader_.reset();
    show(error.what());
  }

 private:
  [[nodiscard]] std::optional<Part> current();
  void end_part();
  void leave_part(const Part& part);
  void begin(const Part& part);
  bool ask_server(const Part& part);
  void require_same_cluster();
  bool read_ours(const Part& part, wal::Lsn target);
  void skip_what_is_gone(const Part& part);
  [[nodiscard]] Error not_there(wal::Lsn at);
  [[nodiscard]] std::unique_ptr<WalStream> question(const Part& part);
  void skip_what_it_lacks(const Part& part);
  void compare(const Part& part, wal::Lsn target);
  bool compare(const Part& part, wal::Lsn target, WalStream& stream);
  bool take(std::span<const std::byte> wal);
  void await(const WalStream& stream, Threads::Time deadline);
  void tell(const FeedDifference& difference);
  void drop_comparer();
  void skip_to(wal::Lsn at);
  void show(std::string problem);

  CompareFeed& owner_;
  const std::unique_ptr<io::Directory> directory_;
  receive::Options connect_;
  std::unique_ptr<Server> server_;
  std::string server_name_;
  wal::SegmentSize size_;
  wal::Lsn server_end_;
  std::optional<Part> part_;  ///< to which the fields below belong
  std::unique_ptr<archive::WalReader> reader_;
  std::unique_ptr<FeedComparer> comparer_;
  wal::Lsn next_;                ///< where the next comparer starts
  std::vector<std::byte> ours_;  ///< the archive's copy of the WAL requested next
  wal::Lsn ours_begin_;
  std::uint64_t bytes_ = 0;
  std::optional<Threads::Time> told_;
};

Duration CompareFeed::Work::round() {
  const auto part = current();
  if (!part) return owner_.options_.look_every;
  if (!part_ || part_->timeline != part->timeline || part_->start != part->start) begin(*part);
  part_ = part;
  const auto position = comparer_ ? comparer_->position() : next_;
  if (position >= part->durable) {
    if (!part->ended) return owner_.options_.look_every;
    end_part();
    return 0s;
  }
  if (!ask_server(*part)) return owner_.options_.look_every;
  if (!comparer_) comparer_ = std::make_unique<FeedComparer>(size_, part->timeline, next_);
  const auto target = std::min({part->durable, server_end_, position + kAtOnce});
  if (target <= position) {
    show("");
    return owner_.options_.look_every;  // it lags behind the archive
  }
  const auto begun = owner_.world_.machine.now();
  const auto before = bytes_;
  if (!read_ours(*part, target)) return 0s;
  compare(*part, target);
  show("");
  const std::chrono::duration<double> least(static_cast<double>(bytes_ - before) /
                                            static_cast<double>(owner_.options_.bytes_per_second));
  return std::max(Duration::zero(), std::chrono::duration_cast<Duration>(least) -
                                        (owner_.world_.machine.now() - begun));
}

std::optional<CompareFeed::Part> CompareFeed::Work::current() {
  const Threads::Lock lock(*owner_.mutex_);
  if (owner_.parts_.empty()) return std::nullopt;
  return owner_.parts_.front();
}

void CompareFeed::Work::end_part() {
  drop_comparer();
  const Threads::Lock lock(*owner_.mutex_);
  owner_.parts_.pop_front();
}

/// One of the two has no more of that timeline, and the archive will not get more.
void CompareFeed::Work::leave_part(const Part& part) {
  skip_to(part.durable);
  end_part();
}

void CompareFeed::Work::begin(const Part& part) {
  drop_comparer();
  reader_.reset();
  next_ = part.start;
}

/// Reads its position, and checks whether it can be compared.
bool CompareFeed::Work::ask_server(const Part& part) {
  if (!server_) {
    server_ = owner_.world_.servers.connect(
        connect_, 0, [](const std::string&) {}, owner_.stop_);
    server_name_ = server_->name();
    size_ = server_->wal_segment_size();
    require_same_cluster();
  }
  const auto identity = server_->identify_system();
  // A server on an older timeline will get there. A server on a newer one has all of this timeline.
  if (identity.timeline < part.timeline) {
    show("");
    return false;
  }
  server_end_ = identity.timeline == part.timeline ? identity.flush_position : part.durable;
  return true;
}

void CompareFeed::Work::require_same_cluster() {
  const auto held = archive::read_identity(*directory_, archive::list_archive_names(*directory_));
  if (!held) throw Error(ErrorKind::retry, "no file in the archive identifies its cluster yet");
  const auto identity = server_->identify_system();
  if (held->system_identifier != 0 && held->system_identifier != identity.system_identifier)
    throw Error(ErrorKind::conflict,
                "the second upstream and the archive belong to different clusters")
        .with("second upstream", identity.system_identifier)
        .with("archive", held->system_identifier)
        .hint("Correct --compare-with. Archiving continues.");
  if (held->segment_size != size_)
    throw Error(ErrorKind::conflict,
                "the second upstream and the archive have different segment sizes")
        .with("second upstream", format_size(size_.bytes()))
        .with("archive", format_size(held->segment_size.bytes()))
        .hint(
            "It is a copy whose wal_segment_size was changed (pg_resetwal), and has had a separate "
            "history since. Correct --compare-with. Archiving continues.");
}

/// Reads the archive's WAL up to `target` before it is requested from the server: while that
/// streams, nothing may wait for the disk (P13). Returns false if it no longer exists, and was
/// skipped.
bool CompareFeed::Work::read_ours(const Part& part, wal::Lsn target) {
  if (!reader_)
    reader_ = std::make_unique<archive::WalReader>(
        *directory_,
        archive::WalReader::Options{.segment_size = size_,
                                    .timeline = part.timeline,
                                    .unfinished = true,
                                    .durable_end = [this]() -> std::optional<archive::DurableEnd> {
                                      return archive::DurableEnd{part_->timeline, part_->durable};
                                    }});
  ours_begin_ = comparer_->position();
  ours_.resize(target - ours_begin_);
  for (std::size_t have = 0; have < ours_.size();) {
    const auto at = ours_begin_ + have;
    const auto read = reader_->read(at, std::span(ours_).subspan(have));
    if (read.state == archive::WalSource::State::damaged) throw Error(*read.error);
    if (read.state == archive::WalSource::State::gone) {
      skip_what_is_gone(part);
      return false;
    }
    if (read.state == archive::WalSource::State::end) throw not_there(at);
    have += read.count;
  }
  return true;
}

/// Pruned, for example, while the reference server was unavailable.
void CompareFeed::Work::skip_what_is_gone(const Part& part) {
  const auto from = comparer_->position();
  const auto missing = reader_->segment_at(from);
  std::optional<wal::Lsn> goes_on;
  for (const auto& entry : archive::list_archive_names(*directory_).segments) {
    const auto& segment = entry.name.segment;
    if (segment == missing) throw not_there(from);  // it was read while being renamed
    const auto start = segment.start(size_);
    if (segment.timeline() == part.timeline && start > from)
      goes_on = std::min(goes_on.value_or(start), start);
  }
  if (goes_on && *goes_on < part.durable) return skip_to(*goes_on);
  if (!part.ended) throw not_there(from);
  leave_part(part);
}

Error CompareFeed::Work::not_there(wal::Lsn at) {
  const auto segment = reader_->segment_at(at).to_string();
  reader_.reset();
  return Error(ErrorKind::retry, "flushed WAL is missing in the archive")
      .with("segment", segment)
      .hint("Check whether it was pruned or moved away.");
}

std::unique_ptr<WalStream> CompareFeed::Work::question(const Part& part) {
  try {
    return server_->question(comparer_->position(), part.timeline);
  } catch (const Error& error) {
    // Most errors of START_REPLICATION have no code of their own.
    constexpr std::string_view kInternalError = "XX000";
    if (part.ended && error.sqlstate() == kInternalError) leave_part(part);
    throw;
  }
}

/// The reference server has removed it. It has the next segment, or at least the one after that.
void CompareFeed::Work::skip_what_it_lacks(const Part& part) {
  const auto next =
      std::max(size_.start_of(part.durable), size_.start_of(comparer_->position()) + size_.bytes());
  if (part.ended && next >= part.durable) return leave_part(part);
  skip_to(next);
}

void CompareFeed::Work::compare(const Part& part, wal::Lsn target) {
  std::unique_ptr<WalStream> stream;
  bool goes_on = true;
  try {
    stream = question(part);
    goes_on = compare(part, target, *stream);
  } catch (const Error& error) {
    // A server reports that once the stream has started.
    if (error.kind() == ErrorKind::gap) skip_what_it_lacks(part);
    throw;
  }
  if (goes_on) return stream->finish(kReferenceEndsWithin);
  stream.reset();
  server_.reset();  // the rest of what it has sent is not needed
}

/// Returns false if a difference was found.
bool CompareFeed::Work::compare(const Part& part, wal::Lsn target, WalStream& stream) {
  const auto deadline = owner_.world_.machine.now() + kReferenceAnswersWithin;
  bool goes_on = true;
  while (goes_on && comparer_->position() < target) {
    const auto event = stream.next();
    if (const auto* data = std::get_if<wire::XLogData>(&event)) {
      if (data->start != comparer_->position())
        throw Error(ErrorKind::protocol, "the server sent WAL out of order")
            .with("expected", comparer_->position())
            .with("got", data->start);
      goes_on = take(data->wal.first(
          std::min<std::uint64_t>(data->wal.size(), target - comparer_->position())));
    } else if (std::holds_alternative<pq::EndOfStream>(event)) {
      const auto at = comparer_->position();
      if (part.ended) leave_part(part);
      throw Error(ErrorKind::conflict,
                  "the second upstream has left the timeline before the archive did")
          .with("timeline", part.timeline)
          .with("at", at)
          .hint(
              "This happens after a failover if the archive has more of the old timeline than the "
              "new primary had: \"pgweir status\" shows the lost branch.");
    } else if (std::holds_alternative<pq::NothingYet>(event)) {
      await(stream, deadline);
      stream.receive();
    }
  }
  return goes_on;
}

/// Compares a piece with the archive's. Returns false if a difference was found.
bool CompareFeed::Work::take(std::span<const std::byte> wal) {
  const auto at = comparer_->position();
  const auto ours = std::span<const std::byte>(ours_).subspan(at - ours_begin_, wal.size());
  const auto found = comparer_->feed(ours, wal);
  bytes_ += wal.size();
  if (comparer_->unchecked())
    throw Error(ErrorKind::refused, "the WAL is of a newer PostgreSQL than this pgweir knows")
        .with("LSN", at);
  if (!found) return true;
  // The rest of the segment is not compared: after one different record, most others differ as
  // well.
  const auto behind = comparer_->position();
  skip_to(size_.start_of(wal::Lsn(behind.byte() - 1)) + size_.bytes());
  return false;
}

/// Throws Error{retry} at the deadline, net::Interrupted.
void CompareFeed::Work::await(const WalStream& stream, Threads::Time deadline) {
  auto& machine = owner_.world_.machine;
  std::array<pollfd, 2> fds{{{stream.socket(), POLLIN, 0}, {owner_.stop_.fd(), POLLIN, 0}}};
  machine.poll(fds, deadline);
  if (fds[1].revents != 0) throw net::Interrupted{};
  if (fds[0].revents == 0 && machine.now() >= deadline)
    throw Error(ErrorKind::retry, "the second upstream does not send the WAL that it has")
        .with("at", comparer_->position());
}

void CompareFeed::Work::tell(const FeedDifference& difference) {
  const auto text = difference.to_string();
  owner_.world_.board.update([&](ReceiverView& content) {
    auto& comparison = content.comparison.value();
    if (++comparison.differences > 1) return;
    comparison.difference = text;
    comparison.difference_time = owner_.world_.machine.wall_clock();
  });
  const auto now = owner_.world_.machine.now();
  if (told_ && now - *told_ < kTellEvery) return;
  told_ = now;
  owner_.world_.log.error(
      Error(ErrorKind::conflict, text)
          .with("second upstream", server_name_)
          .hint("One of the two servers is not the expected one, or its WAL was corrupted: "
                "docs/compare.md describes how to find out which. Archiving continues."));
  owner_.world_.feed.publish(event::FeedsDiffer{difference});
}

/// Reports what it has found, even if the end of the other record was not found yet.
void CompareFeed::Work::drop_comparer() {
  const auto comparer = std::move(comparer_);
  if (!comparer) return;
  if (const auto found = comparer->finish()) tell(*found);
}

void CompareFeed::Work::skip_to(wal::Lsn at) {
  const auto from = comparer_ ? comparer_->position() : next_;
  drop_comparer();
  next_ = at;
  if (next_ > from)
    owner_.world_.board.update(
        [&](ReceiverView& content) { content.comparison.value().skipped_bytes += next_ - from; });
}

void CompareFeed::Work::show(std::string problem) {
  owner_.world_.board.update([&](ReceiverView& content) {
    auto& comparison = content.comparison.value();
    if (!server_name_.empty()) comparison.with = server_name_;
    comparison.problem = std::move(problem);
    comparison.bytes = bytes_;
    if (part_) comparison.timeline = part_->timeline;
    if (comparer_) comparison.position = comparer_->compared();
  });
}

CompareFeed::CompareFeed(Options options, const World& world)
    : options_(std::move(options)),
      world_(world),
      mutex_(world.machine.threads().make_mutex()),
      changed_(world.machine.threads().make_condition()) {
  ReceiverView::Comparison comparison;
  comparison.with = pq::describe(options_.conninfo);
  world_.board.update([&](ReceiverView& content) { content.comparison = comparison; });
  subscription_ = world_.feed.subscribe([this](const Event& happened) { on_event(happened); });
  try {
    thread_ = world_.machine.threads().start("compare", [this] { run(); });
  } catch (const std::system_error& error) {
    world_.log.warning("could not start the thread that compares the second upstream: {}",
                       error.what());
    world_.board.update([&](ReceiverView& content) {
      content.comparison.value().problem =
          std::string("no thread could be started: ") + error.what();
    });
  }
}

CompareFeed::~CompareFeed() {
  subscription_ = {};
  {
    const Threads::Lock lock(*mutex_);
    over_ = true;
    changed_->notify_all();
  }
  stop_.raise();
  if (thread_) thread_->join();
}

void CompareFeed::on_event(const Event& happened) {
  on(
      happened,
      [this](const event::Streaming& streaming) {
        const Threads::Lock lock(*mutex_);
        auto* const last = parts_.empty() ? nullptr : &parts_.back();
        // A reconnect starts at the segment that was not finished.
        if (last != nullptr && last->timeline == streaming.timeline &&
            streaming.start <= last->durable)
          return;
        if (last != nullptr) last->ended = true;
        parts_.push_back({streaming.timeline, streaming.start, streaming.start});
      },
      [this](const event::DurableEnd& durable) {
        const Threads::Lock lock(*mutex_);
        if (parts_.empty() || parts_.back().timeline != durable.timeline) return;
        parts_.back().durable = std::max(parts_.back().durable, durable.end);
      });
}

void CompareFeed::run() {
  Backoff backoff(options_.look_every, kLongestReferencePause, world_.seed);
  std::string told;
  Threads::Lock lock(*mutex_);
  std::optional<Work> work;
  for (;;) {
    const bool over = over_;
    lock.unlock();
    Duration rest{};
    try {
      if (over) {
        if (work) work->end();
        return;
      }
      if (!work) work.emplace(*this);
      rest = work->round();
      if (!std::exchange(told, "").empty())
        world_.log.info("the second upstream is compared again");
      backoff.reset();
    } catch (const net::Interrupted&) {  // it is over
    } catch (const std::exception& failure) {
      // No exception here ends the receiver.
      const auto* const known = dynamic_cast<const Error*>(&failure);
      const Error error = known != nullptr ? *known : unexpected(failure);
      if (work) work->fail(error);
      if (std::exchange(told, error.message()) != error.message())
        world_.log.warning(
            "the second upstream cannot be compared: {}; archiving is not affected, trying "
            "again{}{}",
            error.what(), error.hint().empty() ? "" : ". ", error.hint());
      rest = backoff.next();
    }
    lock.lock();
    const auto until = world_.machine.now() + rest;
    while (!over_ && world_.machine.now() < until) changed_->wait_until(lock, until);
  }
}

}  // namespace weir::receive
