#include "receive/compare_feed.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/wal_reader.h"
#include "base/backoff.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "io/posix_directory.h"
#include "net/wait.h"
#include "pq/connection.h"
#include "receive/feed_comparer.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Asked for at once: so long the second upstream streams without a pause.
constexpr std::uint64_t kAtOnce = std::uint64_t{16} << 20;
/// Caught up, it is asked so often.
constexpr auto kLookEvery = 1s;
/// What it says it has it sends.
constexpr auto kAnswerWithin = 30s;
/// Who stops the receiver waits for it, at most.
constexpr auto kEndWithin = 5s;
constexpr auto kShortestPause = 1s;
constexpr auto kLongestPause = 60s;
/// Differences are told no more often; all are counted.
constexpr auto kTellEvery = 60s;

}  // namespace

/// The thread's own.
class CompareFeed::Work {
 public:
  explicit Work(CompareFeed& owner)
      : owner_(owner), directory_(io::open_existing_directory(owner.options_.archive)) {
    connect_.conninfo = owner.options_.conninfo;
    connect_.fallback_application_name = "pgweir compare";
  }

  /// Compares what can be. Returns how long to rest.
  Clock::duration round();
  /// It could not: the next round connects anew.
  void fail(const Error& error) {
    server_.reset();
    show(error.what());
  }

 private:
  [[nodiscard]] std::optional<Part> current();
  void end_part();
  void leave_part(const Part& part);
  void begin(const Part& part);
  bool ask_server(const Part& part);
  void require_same_cluster();
  void compare(const Part& part, wal::Lsn target);
  bool take(std::span<const std::byte> wal);
  void await(const WalStream& stream, Clock::time_point deadline);
  void differs(const FeedDifference& difference);
  void skip_to(wal::Lsn at);
  void show(std::string problem);

  CompareFeed& owner_;
  const std::unique_ptr<io::Directory> directory_;
  receive::Options connect_;
  std::unique_ptr<Server> server_;
  std::string server_name_;
  wal::SegmentSize size_;
  wal::Lsn server_end_;
  std::optional<Part> part_;  ///< that the fields below are about
  std::unique_ptr<archive::WalReader> reader_;
  std::unique_ptr<FeedComparer> comparer_;
  wal::Lsn next_;  ///< where the next comparer begins
  std::vector<std::byte> ours_;
  std::uint64_t bytes_ = 0;
  std::optional<Clock::time_point> told_;
};

Clock::duration CompareFeed::Work::round() {
  const auto part = current();
  if (!part) return kLookEvery;
  if (!part_ || part_->timeline != part->timeline || part_->start != part->start) begin(*part);
  part_ = part;
  const auto position = comparer_ ? comparer_->position() : next_;
  if (position >= part->durable) {
    if (!part->ended) return kLookEvery;
    end_part();
    return 0s;
  }
  if (!ask_server(*part)) return kLookEvery;
  if (!comparer_) comparer_ = std::make_unique<FeedComparer>(size_, part->timeline, next_);
  const auto target = std::min({part->durable, server_end_, position + kAtOnce});
  if (target <= position) {
    show("");
    return kLookEvery;  // it is behind us
  }
  const auto begun = Clock::now();
  const auto before = bytes_;
  compare(*part, target);
  show("");
  const std::chrono::duration<double> least(static_cast<double>(bytes_ - before) /
                                            static_cast<double>(owner_.options_.bytes_per_second));
  return std::max(Clock::duration::zero(),
                  std::chrono::duration_cast<Clock::duration>(least) - (Clock::now() - begun));
}

std::optional<CompareFeed::Part> CompareFeed::Work::current() {
  const std::lock_guard lock(owner_.mutex_);
  if (owner_.parts_.empty()) return std::nullopt;
  return owner_.parts_.front();
}

void CompareFeed::Work::end_part() {
  const std::lock_guard lock(owner_.mutex_);
  owner_.parts_.pop_front();
}

/// The second upstream has no more of that timeline, and the archive gets no more of it.
void CompareFeed::Work::leave_part(const Part& part) {
  skip_to(part.durable);
  end_part();
}

void CompareFeed::Work::begin(const Part& part) {
  comparer_.reset();
  reader_.reset();
  next_ = part.start;
}

/// Where it is now, and whether that can be compared.
bool CompareFeed::Work::ask_server(const Part& part) {
  if (!server_) {
    server_ = pq_servers().connect(
        connect_, 0, [](const std::string&) {}, owner_.stop_);
    server_name_ = server_->name();
    size_ = server_->wal_segment_size();
    require_same_cluster();
  }
  const auto identity = server_->identify_system();
  // One that has not come to our timeline yet will. One that has left it has all there is of it.
  if (identity.timeline < part.timeline) {
    show("");
    return false;
  }
  server_end_ = identity.timeline == part.timeline ? identity.flush_position : part.durable;
  return true;
}

void CompareFeed::Work::require_same_cluster() {
  const auto held = archive::read_identity(*directory_, archive::list_archive_names(*directory_));
  const auto identity = server_->identify_system();
  if (held && held->system_identifier != 0 && held->system_identifier != identity.system_identifier)
    throw Error(ErrorKind::conflict, "the second upstream is of another cluster than the archive")
        .with("second upstream", identity.system_identifier)
        .with("archive", held->system_identifier)
        .hint("Correct --compare-with. Archiving goes on.");
}

void CompareFeed::Work::compare(const Part& part, wal::Lsn target) {
  if (!reader_)
    reader_ = std::make_unique<archive::WalReader>(
        *directory_,
        archive::WalReader::Options{.segment_size = size_,
                                    .timeline = part.timeline,
                                    .unfinished = true,
                                    .durable_end = [this]() -> std::optional<archive::DurableEnd> {
                                      return archive::DurableEnd{part_->timeline, part_->durable};
                                    }});
  std::unique_ptr<WalStream> stream;
  try {
    stream = server_->question(comparer_->position(), part.timeline);
  } catch (const Error& error) {
    // What comes next it has.
    if (error.kind() == ErrorKind::gap) skip_to(size_.start_of(part.durable));
    // Most refusals of START_REPLICATION have no code of their own.
    constexpr std::string_view kInternalError = "XX000";
    if (part.ended && error.sqlstate() == kInternalError) leave_part(part);
    throw;
  }
  const auto deadline = Clock::now() + kAnswerWithin;
  bool goes_on = true;
  while (goes_on && comparer_->position() < target) {
    const auto event = stream->next();
    if (const auto* data = std::get_if<wire::XLogData>(&event)) {
      if (data->start != comparer_->position())
        throw Error(ErrorKind::protocol, "the server sent WAL out of order")
            .with("expected", comparer_->position())
            .with("got", data->start);
      goes_on = take(data->wal.first(
          std::min<std::uint64_t>(data->wal.size(), target - comparer_->position())));
    } else if (std::holds_alternative<pq::EndOfStream>(event)) {
      if (part.ended) leave_part(part);
      throw Error(ErrorKind::conflict,
                  "the second upstream has left the timeline before the archive did")
          .with("timeline", part.timeline)
          .with("at", comparer_->position())
          .hint(
              "After a failover that is so, if the archive has more of the old timeline than the "
              "new primary had: \"pgweir status\" tells of the lost branch.");
    } else if (std::holds_alternative<pq::NothingYet>(event)) {
      await(*stream, deadline);
      stream->receive();
    }
  }
  if (goes_on) return stream->finish(kEndWithin);
  stream.reset();
  server_.reset();  // what it has sent besides is of no use
}

/// Compares a piece with what the archive has there. False: a difference was found.
bool CompareFeed::Work::take(std::span<const std::byte> wal) {
  while (!wal.empty()) {
    const auto at = comparer_->position();
    ours_.resize(wal.size());
    const auto read = reader_->read(at, ours_);
    if (read.state == archive::WalSource::State::damaged) throw Error(*read.error);
    if (read.state != archive::WalSource::State::bytes)
      throw Error(ErrorKind::retry, "the archive does not have what was made durable")
          .with("segment", reader_->segment_at(at).to_string())
          .hint("Was it pruned, or moved away?");
    const auto ours = std::span<const std::byte>(ours_).first(read.count);
    const auto found = comparer_->feed(ours, wal.first(read.count));
    bytes_ += read.count;
    if (comparer_->unchecked())
      throw Error(ErrorKind::refused, "the WAL is of a newer server than this pgweir knows")
          .with("LSN", at);
    if (found) {
      differs(*found);
      return false;
    }
    wal = wal.subspan(read.count);
  }
  return true;
}

/// Throws Error{retry} at the deadline, net::Interrupted.
void CompareFeed::Work::await(const WalStream& stream, Clock::time_point deadline) {
  if (!net::wait_for_socket(stream.socket(), true, false, &owner_.stop_, deadline))
    throw Error(ErrorKind::retry, "the second upstream does not send the WAL that it has")
        .with("at", comparer_->position());
}

/// The rest of the segment is not compared: where one record is another, most that follow are.
void CompareFeed::Work::differs(const FeedDifference& difference) {
  const auto text = difference.to_string();
  owner_.board_.update([&](StatusBoard::Content& content) {
    auto& comparison = content.comparison.value();
    if (++comparison.differences > 1) return;
    comparison.difference = text;
    comparison.difference_time = std::chrono::system_clock::now();
  });
  const auto behind = comparer_->position();
  skip_to(size_.start_of(wal::Lsn(behind.byte() - 1)) + size_.bytes());
  const auto now = Clock::now();
  if (told_ && now - *told_ < kTellEvery) return;
  told_ = now;
  owner_.log_.error(
      Error(ErrorKind::conflict, text)
          .with("second upstream", server_name_)
          .hint("One of the two servers is not what it is taken for, or its WAL was corrupted: "
                "docs/compare.md says how to find out which. Archiving goes on."));
  owner_.feed_.publish(event::FeedsDiffer{difference});
}

void CompareFeed::Work::skip_to(wal::Lsn at) {
  const auto from = comparer_ ? comparer_->position() : next_;
  comparer_.reset();
  next_ = std::max(at, size_.start_of(from));
  if (next_ > from)
    owner_.board_.update([&](StatusBoard::Content& content) {
      content.comparison.value().skipped_bytes += next_ - from;
    });
}

void CompareFeed::Work::show(std::string problem) {
  owner_.board_.update([&](StatusBoard::Content& content) {
    auto& comparison = content.comparison.value();
    if (!server_name_.empty()) comparison.with = server_name_;
    comparison.problem = std::move(problem);
    comparison.bytes = bytes_;
    if (part_) comparison.timeline = part_->timeline;
    if (comparer_) comparison.position = comparer_->compared();
  });
}

CompareFeed::CompareFeed(Options options, Feed& feed, StatusBoard& board, Log& log)
    : options_(std::move(options)), feed_(feed), board_(board), log_(log) {
  StatusBoard::Content::Comparison comparison;
  comparison.with = pq::describe(options_.conninfo);
  board_.update([&](StatusBoard::Content& content) { content.comparison = comparison; });
  subscription_ = feed_.subscribe([this](const Event& happened) { on_event(happened); });
  thread_ = std::thread([this] { run(); });
}

CompareFeed::~CompareFeed() {
  subscription_ = {};
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  stop_.raise();
  thread_.join();
}

void CompareFeed::on_event(const Event& happened) {
  on(
      happened,
      [this](const event::Streaming& streaming) {
        const std::lock_guard lock(mutex_);
        auto* const last = parts_.empty() ? nullptr : &parts_.back();
        // A reconnect begins at the segment that was not finished.
        if (last != nullptr && last->timeline == streaming.timeline &&
            streaming.start <= last->durable)
          return;
        if (last != nullptr) last->ended = true;
        parts_.push_back({streaming.timeline, streaming.start, streaming.start});
      },
      [this](const event::DurableEnd& durable) {
        const std::lock_guard lock(mutex_);
        if (parts_.empty() || parts_.back().timeline != durable.timeline) return;
        parts_.back().durable = std::max(parts_.back().durable, durable.end);
      });
}

void CompareFeed::run() {
  Backoff backoff(kShortestPause, kLongestPause, std::random_device()());
  std::string told;
  std::unique_lock lock(mutex_);
  std::optional<Work> work;
  while (!over_) {
    lock.unlock();
    Clock::duration rest{};
    try {
      if (!work) work.emplace(*this);
      rest = work->round();
      if (!std::exchange(told, "").empty()) log_.info("the second upstream is compared again");
      backoff.reset();
    } catch (const net::Interrupted&) {
      return;
    } catch (const std::exception& failure) {
      // Whatever it is, it does not end the receiver.
      const auto* const known = dynamic_cast<const Error*>(&failure);
      const Error error = known != nullptr ? *known : unexpected(failure);
      if (work) work->fail(error);
      if (std::exchange(told, error.message()) != error.message())
        log_.warning(
            "the second upstream cannot be compared: {}; archiving is not affected, trying "
            "again{}{}",
            error.what(), error.hint().empty() ? "" : ". ", error.hint());
      rest = backoff.next();
    }
    lock.lock();
    changed_.wait_for(lock, rest, [this] { return over_; });
  }
}

}  // namespace weir::receive
