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
  SimStream(World& world, wal::TimelineId timeline, Lsn start, bool question)
      : world_(world),
        question_(question),
        received_(start),
        said_(start),
        fd_(world.machine.add(*this)) {
    if (question) return;
    world_.ledger.on_stream(timeline, start);
    if (const auto& other = world_.upstream.other_wal()) world_.ledger.on_other_wal(*other);
    world_.ledger.on_losses_told(world_.board.read().losses, world_.disk);
  }
  ~SimStream() override { world_.machine.remove(fd_); }

  void receive() override {
    for (auto most = 1 + world_.random.below(4); most > 0 && !lost_; --most) {
      try {
        auto event = world_.upstream.next();
        if (std::holds_alternative<pq::NothingYet>(event)) return;
        Arrived arrived{.event = event};
        if (auto* data = std::get_if<wire::XLogData>(&event)) {
          arrived.wal.assign(data->wal.begin(), data->wal.end());
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
    if (arrived_.empty()) {
      if (lost_) throw Error(*lost_);
      return pq::NothingYet{};
    }
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
    if (!unsent_ && world_.random.one_in(20))
      takes_again_ = world_.story.now + std::chrono::milliseconds(world_.random.below(300));
    unsent_ = status;
    static_cast<void>(flush());
  }
  void send(const wire::HotStandbyFeedback&) override {
    throw Error(ErrorKind::protocol, "nobody is served in the simulation");
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
  struct Arrived {
    pq::StreamEvent event;
    std::vector<std::byte> wal = {};
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
      if (!discarding_ && received_ - said_ > kUnsyncedLimit + kLargestMessage + kPageHeader)
        throw Violation{"P8",
                        fmt::format("{} bytes are received and not durable", received_ - said_)};
    }
    // Where there is much to come, the kernel puts many a message where the writer wants it.
    if (place.size() >= arrived.wal.size() && world_.random.coin()) {
      std::copy(arrived.wal.begin(), arrived.wal.end(), place.begin());
      data.wal = place.first(arrived.wal.size());
      return;
    }
    last_ = std::move(arrived.wal);
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
  }

  /// No position inside the first page's header is told.
  static constexpr std::uint64_t kPageHeader = 40;

  World& world_;
  const bool question_;
  Lsn received_;
  Lsn said_;  ///< to be durable
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

class SimServers::SimServer final : public receive::Server {
 public:
  SimServer(SimServers& servers, int host)
      : servers_(servers),
        world_(servers.world_),
        number_(++servers.connections_),
        host_(static_cast<std::size_t>(host)) {}
  ~SimServer() override {
    if (number_ == servers_.connections_) world_.upstream.disconnect();
  }

  std::string name() const override { return fmt::format("node {}", host_); }
  std::size_t host_index() const override { return host_; }
  std::size_t host_count() const override { return world_.upstream.nodes().size(); }
  int major() const override { return world_.upstream.lineage().server_major(); }
  std::string version() const override { return std::to_string(major()) + ".1"; }
  std::optional<bool> in_hot_standby() const override {
    if (major() < 14) return std::nullopt;
    return world_.upstream.connected().standby;
  }

  pq::SystemIdentity identify_system() override {
    asked();
    return world_.upstream.identify();
  }
  wal::SegmentSize wal_segment_size() override {
    asked();
    return kSegment;
  }
  std::chrono::milliseconds wal_sender_timeout() override { return 60s; }
  unsigned data_directory_mode() override { return 0700; }
  bool create_physical_slot(const std::string&) override {
    asked();
    return world_.upstream.create_slot();
  }
  void drop_slot(const std::string&) override {
    asked();
    world_.upstream.drop_slot();
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string&) override {
    asked();
    return world_.upstream.read_slot();
  }
  std::string timeline_history(wal::TimelineId timeline) override {
    asked();
    return world_.upstream.history(timeline);
  }
  std::unique_ptr<receive::WalStream> start(const std::optional<std::string>& slot, Lsn start,
                                            wal::TimelineId timeline) override {
    asked();
    const auto& node = world_.upstream.connected();
    if (node.foreign && !node.other_branch && world_.ledger.promised_anything())
      throw Violation{"P4", "WAL of another cluster is asked for to go on with this archive"};
    world_.upstream.start(start, timeline, slot.has_value(), false);
    world_.story.tell("streaming timeline {} from {}", timeline, start);
    return std::make_unique<SimStream>(world_, timeline, start, false);
  }
  std::unique_ptr<receive::WalStream> question(Lsn start, wal::TimelineId timeline) override {
    asked();
    world_.upstream.start(start, timeline, false, true);
    return std::make_unique<SimStream>(world_, timeline, start, true);
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
    if (servers_.stopped_) throw net::Interrupted{};
  }

  SimServers& servers_;
  World& world_;
  const std::uint64_t number_;
  const std::size_t host_;
};

std::unique_ptr<receive::Server> SimServers::connect(const receive::Options&,
                                                     std::size_t first_host,
                                                     std::function<void(const std::string&)>,
                                                     const net::Wake&) {
  world_.scheduler.pause();
  if (stopped_) throw net::Interrupted{};
  const auto host = world_.upstream.connect(static_cast<int>(first_host));
  return std::make_unique<SimServer>(*this, host);
}

receive::SlotReading SimServers::read_slot_view(const std::string&, const std::string&,
                                                const net::Wake& stop) {
  world_.scheduler.pause();
  if (stop.raised()) throw net::Interrupted{};
  return {.view = world_.upstream.read_slot_view(),
          .server_major = world_.upstream.lineage().server_major()};
}

}  // namespace weir::sim
