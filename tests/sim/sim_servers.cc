#include "sim_servers.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace weir::sim {

namespace {

using namespace std::chrono_literals;
using wal::Lsn;

}  // namespace

/// Messages lie on the way, are read, and are given out one by one; the WAL of one is gone when the
/// next is asked for, unless it is kept.
class SimServers::SimStream final : public receive::WalStream, public Pollable {
 public:
  SimStream(SimServers& servers, std::size_t host, wal::TimelineId timeline, Lsn start,
            bool question)
      : servers_(servers),
        world_(servers.world_),
        host_(host),
        question_(question),
        received_(start),
        first_(start),
        said_(start),
        fd_(world_.machine.add(*this)) {
    if (question) return;
    const auto losses = world_.board.read().losses;
    tell_of_holes_in_store(losses);
    world_.ledger.on_stream(timeline, start);
    if (world_.confirmed != nullptr) world_.confirmed->on_stream();
    if (const auto& other = world_.upstream.other_wal()) world_.ledger.on_other_wal(*other);
    world_.ledger.on_losses_told(losses, world_.disk);
  }
  ~SimStream() override { world_.machine.remove(fd_); }

  void receive() override {
    for (auto most = 1 + world_.random.below(4); most > 0 && !lost_; --most) {
      try {
        auto event = world_.upstream.next();
        if (std::holds_alternative<pq::NothingYet>(event)) return;
        Arrived arrived{.event = event};
        if (auto* data = std::get_if<wire::XLogData>(&event)) {
          // (The servers' own WAL stays where it is.)
          if (world_.upstream.is_damaged(data->wal)) {
            arrived.damaged_wal.assign(data->wal.begin(), data->wal.end());
            std::get<wire::XLogData>(arrived.event).wal = arrived.damaged_wal;
          }
          arrived.damage = world_.upstream.damage_sent();
        }
        const bool end = std::holds_alternative<pq::EndOfStream>(event);
        arrived_.push_back(std::move(arrived));
        if (end) return;
      } catch (const Error& error) {
        lost_ = error;
      }
    }
  }

  pq::StreamEvent next(std::span<std::byte> place) override {
    std::fill(last_.begin(), last_.end(), std::byte{0xDD});
    last_.clear();
    if (arrived_.empty()) {
      if (lost_) throw Error(*lost_);
      return pq::NothingYet{};
    }
    if (!question_) servers_.streamed_host_ = host_;
    auto arrived = std::move(arrived_.front());
    arrived_.pop_front();
    if (auto* data = std::get_if<wire::XLogData>(&arrived.event))
      give_out(*data, arrived, place);
    else if (const auto* end = std::get_if<pq::EndOfStream>(&arrived.event))
      world_.story.tell("the timeline ends at {}, next is {}", end->next->switchpoint,
                        end->next->timeline);
    return arrived.event;
  }

  void keep_last() override {
    discarding_ = true;
    kept_ = std::move(last_);
    last_.clear();
    world_.story.tell("what comes from now on is dropped");
  }

  void send(const wire::StandbyStatus& status) override {
    said_ = std::max(said_, status.flush);
    speaks_ = speaks_ || status.flush.valid();
    if (!unsent_ && world_.random.one_in(20))
      takes_again_ = world_.story.now + std::chrono::milliseconds(world_.random.below(300));
    unsent_ = status;
    static_cast<void>(flush());
  }
  void send(const wire::HotStandbyFeedback& feedback) override {
    if (!lost_) world_.feedback(feedback);
  }
  bool flush() override {
    if (unsent_ && world_.story.now >= takes_again_) deliver(*std::exchange(unsent_, std::nullopt));
    return !unsent_;
  }

  void finish(std::chrono::milliseconds) override {
    world_.scheduler.pause();
    if (unsent_) deliver(*unsent_);
    if (lost_) throw Error(*lost_);
    world_.upstream.end_stream();
  }
  void let_go() override {
    world_.story.tell("the server is let go");
    world_.upstream.disconnect();
    if (!lost_) lost_ = Error(ErrorKind::retry, "the connection was broken off");
  }
  void gather(std::size_t bytes) override { gathers_ = bytes > 1; }
  int socket() const override { return fd_; }

  short ready(short events) override {
    short now = 0;
    if ((events & POLLIN) != 0 &&
        (lost_ || (world_.upstream.readable() && !(gathers_ && world_.random.coin()))))
      now = POLLIN;
    if ((events & POLLOUT) != 0 && world_.story.now >= takes_again_)
      now = static_cast<short>(now | POLLOUT);
    return now;
  }

 private:
  /// A hole that was recorded because the store had lost the WAL is not recorded again when it is
  /// accepted. It counts as told only if the store has indeed lost all of it (seed 558402 of
  /// 0ca62724).
  void tell_of_holes_in_store(const std::vector<archive::Loss>& losses) {
    for (const auto& loss : losses) {
      if (loss.kind != archive::Loss::Kind::hole || !loss.cause.starts_with("gone from the store"))
        continue;
      bool lost = world_.lost_by_store != nullptr;
      for (auto begin = loss.begin; lost && begin < loss.end; begin = begin + kSegmentBytes)
        lost = world_.lost_by_store({loss.timeline, kSegment.segno(begin), kSegment});
      if (lost) world_.ledger.on_hole({loss.begin, loss.end});
    }
  }

  struct Arrived {
    pq::StreamEvent event;
    std::vector<std::byte> damaged_wal = {};
    std::optional<Lineage::Spot> damage = std::nullopt;
  };

  void give_out(wire::XLogData& data, Arrived& arrived, std::span<std::byte> place) {
    const auto end = data.start + data.wal.size();
    if (discarding_) {
      world_.story.tell("dropped up to {}", end);
      ++world_.dropped;
    }
    if (!question_) {
      received_ = end;
      world_.ledger.on_received(end);
      if (arrived.damage) world_.ledger.on_damage(*arrived.damage);
      // (Before the slot's place nothing is said. It may lie any number of segments ahead, where
      // somebody has made the slot anew: what counts then is what the receiver calls durable.)
      auto said = speaks_ ? said_ : std::max(said_, world_.ledger.synced_of_stream());
      if (world_.confirmed != nullptr) said = world_.ledger.durable_of_stream();
      // (After a failed sync nothing is said any more, and the process ends: seed 789864 of
      // da090258.)
      if (!discarding_ && !world_.ledger.has_failed_sync() && received_ > said &&
          received_ - said > kUnsyncedLimit + kLargestMessage + kPageHeader)
        throw Violation{"P8",
                        fmt::format("{} bytes are received and not durable", received_ - said)};
    }
    // Where there is much to come, the kernel puts many a message where the writer wants it.
    if (place.size() >= data.wal.size() && world_.random.coin()) {
      std::copy(data.wal.begin(), data.wal.end(), place.begin());
      data.wal = place.first(data.wal.size());
      return;
    }
    last_.assign(data.wal.begin(), data.wal.end());
    data.wal = last_;
  }

  void deliver(const wire::StandbyStatus& status) {
    try {
      world_.upstream.status(status);
    } catch (const Error& error) {
      if (!lost_) lost_ = error;
      return;
    }
    if (question_) return;
    world_.ledger.on_status(status);
    if (world_.confirmed != nullptr && status.flush.valid())
      world_.confirmed->on_told(world_.ledger.timeline(), status.flush, "the server that streams");
  }

  /// No position inside the first page's header is told.
  static constexpr std::uint64_t kPageHeader = 40;

  SimServers& servers_;
  World& world_;
  const std::size_t host_;
  const bool question_;
  Lsn received_;
  Lsn first_;  ///< byte of the stream
  Lsn said_;   ///< to be durable
  bool speaks_ = false;
  std::deque<Arrived> arrived_;
  std::vector<std::byte> last_;
  std::vector<std::byte> kept_;
  bool discarding_ = false;
  bool gathers_ = false;
  std::optional<wire::StandbyStatus> unsent_;
  receive::Time takes_again_{};  ///< the socket, what is sent
  std::optional<Error> lost_;
  const int fd_;
};

/// To a question of somebody who asks several hosts at once: one message, and no more.
class SimServers::Answer final : public receive::WalStream, public Pollable {
 public:
  Answer(World& world, pq::StreamEvent event)
      : world_(world), event_(event), fd_(world.machine.add(*this)) {}
  ~Answer() override { world_.machine.remove(fd_); }
  void receive() override {}
  pq::StreamEvent next(std::span<std::byte>) override {
    return std::exchange(event_, pq::NothingYet{});
  }
  void keep_last() override {}
  void send(const wire::StandbyStatus&) override { throw unasked(); }
  void send(const wire::HotStandbyFeedback&) override { throw unasked(); }
  bool flush() override { return true; }
  void finish(std::chrono::milliseconds) override { world_.scheduler.pause(); }
  void let_go() override {}
  void gather(std::size_t) override {}
  int socket() const override { return fd_; }
  short ready(short) override { return 0; }

 private:
  static Error unasked() { return {ErrorKind::protocol, "a question says nothing of itself"}; }

  World& world_;
  pq::StreamEvent event_;  ///< the servers' WAL stays where it is
  const int fd_;
};

/// At first it may be one of several that are asked at once; then the connection of the client.
class SimServers::SimServer final : public receive::Server {
 public:
  SimServer(SimServers& servers, int host)
      : servers_(servers),
        world_(servers.world_),
        number_(++servers.connections_),
        host_(static_cast<std::size_t>(host)) {}
  /// That is asked, until `over` is raised.
  SimServer(SimServers& servers, std::size_t host, const net::Wake& over)
      : servers_(servers),
        world_(servers.world_),
        host_(host),
        over_(&over),
        node_(world_.upstream.visit(host)),
        starts_(world_.upstream.nodes()[node_].starts) {}
  ~SimServer() override {
    if (number_ == servers_.connections_) world_.upstream.disconnect();
  }
  void interrupted_by(const net::Wake&) override {
    servers_.check_branch(node_);
    over_ = nullptr;
    number_ = ++servers_.connections_;
    world_.upstream.adopt(node_, starts_);
  }

  std::string name() const override { return fmt::format("node {}", host_); }
  std::size_t host_index() const override { return host_; }
  std::size_t host_count() const override { return world_.upstream.nodes().size(); }
  int major() const override { return world_.upstream.lineage().server_major(); }
  std::string version() const override { return std::to_string(major()) + ".1"; }
  std::optional<bool> in_hot_standby() const override {
    if (major() < 14) return std::nullopt;
    return over_ != nullptr ? world_.upstream.nodes()[node_].standby
                            : world_.upstream.connected().standby;
  }
  std::optional<bool> ask_for_role() override {
    asked();
    if (over_ == nullptr) return world_.upstream.connected().standby;
    return servers_.said_[host_].standby = world_.upstream.nodes()[node_].standby;
  }

  /// (A standby that is promoted between the two questions is one on a newer timeline: seed 406738
  /// of eb9f749.)
  pq::SystemIdentity identify_system() override {
    asked();
    if (over_ != nullptr) {
      servers_.said_[host_].timeline = world_.upstream.nodes()[node_].timeline;
      return world_.upstream.identify(node_);
    }
    return world_.upstream.identify();
  }
  wal::SegmentSize wal_segment_size() override {
    asked();
    return kSegment;
  }
  std::chrono::milliseconds wal_sender_timeout() override { return 60s; }
  unsigned file_mode() override { return 0600; }
  bool create_physical_slot(const std::string&) override {
    asked();
    return world_.upstream.create_slot();
  }
  void drop_slot(const std::string&) override {
    asked();
    world_.upstream.drop_slot();
  }
  bool use_slot(const std::string&, Lsn, wal::TimelineId, std::optional<Lsn>) override {
    throw Error(ErrorKind::protocol, "the slot of the server that streams is the stream's");
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string&) override {
    asked();
    if (over_ != nullptr) return world_.upstream.read_slot(node_);
    return world_.upstream.read_slot();
  }
  std::string timeline_history(wal::TimelineId timeline) override {
    asked();
    if (over_ != nullptr) return world_.upstream.history(node_, timeline);
    return world_.upstream.history(timeline);
  }
  std::unique_ptr<receive::WalStream> start(const std::optional<std::string>& slot, Lsn start,
                                            wal::TimelineId timeline) override {
    asked();
    const auto& node = world_.upstream.connected();
    if (node.foreign && !node.other_branch && world_.ledger.promised_anything())
      throw Violation{"P4", "WAL of another cluster is asked for to go on with this archive"};
    world_.upstream.start(start, timeline, slot.has_value(), false);
    world_.upstream.on_archived(timeline, start);
    servers_.check_line(start);
    world_.story.tell("streaming timeline {} from {}", timeline, start);
    return std::make_unique<SimStream>(servers_, host_, timeline, start, false);
  }
  std::unique_ptr<receive::WalStream> question(Lsn start, wal::TimelineId timeline) override {
    asked();
    if (over_ != nullptr)
      return std::make_unique<Answer>(world_, world_.upstream.peek(node_, start, timeline));
    world_.upstream.start(start, timeline, false, true);
    return std::make_unique<SimStream>(servers_, host_, timeline, start, true);
  }
  std::function<bool()> shutdown_probe() const override {
    return [this] {
      world_.scheduler.sleep_until(world_.story.now + 10ms);
      return world_.upstream.connected().leaving.has_value();
    };
  }

 private:
  /// It takes its time to answer.
  void asked() {
    world_.scheduler.pause();
    if (over_ == nullptr && servers_.stopped_) throw net::Interrupted{};
    if (over_ == nullptr) return;
    if (over_->raised()) throw net::Interrupted{};
    const auto& node = world_.upstream.nodes()[node_];
    if (!node.up || node.starts != starts_)
      throw Error(ErrorKind::retry, "server closed the connection unexpectedly");
  }

  SimServers& servers_;
  World& world_;
  std::uint64_t number_ = 0;
  const std::size_t host_;
  const net::Wake* over_ = nullptr;  ///< it is asked
  std::size_t node_ = 0;
  std::uint64_t starts_ = 0;
};

/// The slot keeper's.
class SimServers::SimVisit final : public receive::Server {
 public:
  SimVisit(SimServers& servers, std::size_t host, const net::Wake& stop)
      : servers_(servers),
        upstream_(servers.world_.upstream),
        host_(host),
        node_(upstream_.visit(host)),
        starts_(upstream_.nodes()[node_].starts),
        stop_(stop) {
    upstream_.on_visit();
  }

  std::string name() const override { return fmt::format("node {}", host_); }
  std::size_t host_index() const override { return host_; }
  std::size_t host_count() const override { return upstream_.nodes().size(); }
  int major() const override { return upstream_.lineage().server_major(); }
  std::string version() const override { return std::to_string(major()) + ".1"; }
  std::optional<bool> in_hot_standby() const override { return std::nullopt; }
  pq::SystemIdentity identify_system() override {
    asked();
    return upstream_.identify(node_);
  }
  bool create_physical_slot(const std::string&) override {
    asked();
    return upstream_.create_slot(node_);
  }
  bool use_slot(const std::string&, Lsn position, wal::TimelineId timeline,
                std::optional<Lsn> flush) override {
    asked();
    const bool moved = upstream_.use_slot(node_, position, timeline, flush);
    if (moved && flush && servers_.world_.confirmed != nullptr)
      servers_.world_.confirmed->on_told(timeline, *flush, "another one by its slot");
    return moved;
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string&) override {
    asked();
    return upstream_.read_slot(node_);
  }
  std::string timeline_history(wal::TimelineId timeline) override {
    asked();
    return upstream_.history(node_, timeline);
  }
  wal::SegmentSize wal_segment_size() override { throw unasked(); }
  std::chrono::milliseconds wal_sender_timeout() override { throw unasked(); }
  unsigned file_mode() override { throw unasked(); }
  void drop_slot(const std::string&) override { throw unasked(); }
  std::unique_ptr<receive::WalStream> start(const std::optional<std::string>&, Lsn,
                                            wal::TimelineId) override {
    throw unasked();
  }
  std::unique_ptr<receive::WalStream> question(Lsn start, wal::TimelineId timeline) override {
    asked();
    return std::make_unique<Answer>(servers_.world_, upstream_.peek(node_, start, timeline));
  }
  /// (Reported when it was connected.)
  std::optional<bool> ask_for_role() override { return upstream_.nodes()[node_].standby; }
  void interrupted_by(const net::Wake&) override { throw unasked(); }
  std::function<bool()> shutdown_probe() const override { throw unasked(); }

 private:
  static Error unasked() { return {ErrorKind::protocol, "no visitor asks that"}; }
  /// It takes its time to answer, and may be gone meanwhile.
  void asked() {
    servers_.world_.scheduler.pause();
    if (stop_.raised()) throw net::Interrupted{};
    const auto& node = upstream_.nodes()[node_];
    if (!node.up || node.starts != starts_)
      throw Error(ErrorKind::retry, "server closed the connection unexpectedly");
  }

  SimServers& servers_;
  SimUpstream& upstream_;
  const std::size_t host_;
  const std::size_t node_;
  const std::uint64_t starts_;
  const net::Wake& stop_;
};

/// Of two branches, of which nobody can know which one counts, none is begun with where the other
/// one has answered, too.
void SimServers::check_branch(std::size_t node) const {
  const auto& upstream = world_.upstream;
  if (!upstream.nodes()[node].sibling) return;
  for (const auto& host : world_.board.read().hosts) {
    const auto index = static_cast<std::size_t>(host.index);
    if (host.eligibility == receive::Eligibility::eligible &&
        !upstream.nodes()[upstream.node_of(index)].foreign &&
        said_.at(index).timeline == upstream.lineage().newest())
      throw Violation{"P3", "one of two branches is followed, though nobody can know which counts"};
  }
  // The others had no time to answer. (What would become of the archive then is not told here.)
  world_.upstream.show_foreign(false);
}

/// No older timeline than that of a primary which has answered and has the WAL. Only the first
/// stream of a connection is checked: a later one continues it at a later position, as a stream
/// that was not interrupted would, and the hosts were asked for the WAL from the first position on
/// (seed 64222 of e94f7ac).
void SimServers::check_line(Lsn start) {
  if (std::exchange(line_checked_, connections_) == connections_) return;
  const auto& upstream = world_.upstream;
  const auto& options = upstream.options();
  const auto& node = upstream.connected();
  if (node.foreign || options.slot || options.damages || options.sibling || options.other_branch)
    return;
  const auto hosts = world_.board.read().hosts;
  for (const auto& taken : hosts) {
    const auto index = static_cast<std::size_t>(taken.index);
    if (!taken.taken || &upstream.nodes()[upstream.node_of(index)] != &node) continue;
    for (const auto& host : hosts) {
      const auto other = static_cast<std::size_t>(host.index);
      if (host.eligibility != receive::Eligibility::eligible || host.taken) continue;
      const auto& there = upstream.nodes()[upstream.node_of(other)];
      const auto& said = said_.at(other);
      if (!there.foreign && !said.standby && said.timeline > said_.at(index).timeline &&
          there.oldest <= start)
        throw Violation{"P3", fmt::format("timeline {} is streamed, and a primary on timeline {} "
                                          "has answered",
                                          said_.at(index).timeline, said.timeline)};
    }
  }
}

receive::HostList SimServers::hosts(const receive::Options&) {
  receive::HostList list;
  for (std::size_t i = 0; i < world_.upstream.nodes().size(); ++i)
    list.names.push_back(fmt::format("node {}", i));
  return list;
}

std::unique_ptr<receive::Server> SimServers::visit(const receive::Options&,
                                                   const receive::Visit& visit,
                                                   const net::Wake& stop) {
  world_.scheduler.pause();
  if (stop.raised()) throw net::Interrupted{};
  return std::make_unique<SimVisit>(*this, visit.host, stop);
}

/// Now and then one accepts and says nothing for a while.
std::unique_ptr<receive::Server> SimServers::connect_to(const receive::Options&, std::size_t host,
                                                        std::function<void(const std::string&)>,
                                                        const net::Wake& stop) {
  world_.scheduler.pause();
  if (world_.random.one_in(12)) {
    const auto until = world_.story.now + std::chrono::milliseconds(world_.random.any_size(12'000));
    while (!stop.raised() && world_.story.now < until)
      world_.scheduler.sleep_until(std::min<receive::Time>(until, world_.story.now + 200ms));
  }
  if (stop.raised()) throw net::Interrupted{};
  return std::make_unique<SimServer>(*this, host, stop);
}

/// Any other host may answer, of which nobody has asked whether its WAL continues the archive.
std::unique_ptr<receive::Server> SimServers::connect(const receive::Options& options,
                                                     std::size_t first_host,
                                                     std::function<void(const std::string&)>,
                                                     const net::Wake&) {
  world_.scheduler.pause();
  if (world_.upstream.nodes().size() > 1 && !options.stock_habits)
    throw Violation{"P3", "a connection that may lead to a host that was not chosen"};
  if (stopped_) throw net::Interrupted{};
  const auto host = world_.upstream.connect(static_cast<int>(first_host));
  return std::make_unique<SimServer>(*this, host);
}

receive::SlotReading SimServers::read_slot_view(const std::string&, const std::string&,
                                                const std::string&, const net::Wake& stop) {
  world_.scheduler.pause();
  if (stop.raised()) throw net::Interrupted{};
  return {.view = world_.upstream.read_slot_view(),
          .server_major = world_.upstream.lineage().server_major()};
}

}  // namespace weir::sim
