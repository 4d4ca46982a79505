#include "sim_reference.h"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace weir::sim {

using namespace std::chrono_literals;
using wal::Lsn;

/// Messages are read one by one; the WAL of one is gone when the next is asked for.
class SimReference::Stream final : public receive::WalStream, public Pollable {
 public:
  Stream(SimReference& reference, Lsn start, wal::TimelineId timeline, const net::Wake& stop)
      : server_(reference),
        timeline_(timeline),
        at_(start),
        starts_(reference.starts_),
        stop_(stop),
        machine_(*reference.machine_),
        fd_(machine_.add(*this)) {
    ++server_.streams_;
    sends_again();
  }
  ~Stream() override {
    machine_.remove(fd_);
    end();
  }

  void receive() override {
    if (arrived_ || ready(POLLIN) == 0) return;
    sends_again();
    auto& random = server_.random_;
    if (!server_.calm_ && random.one_in(40)) lost_ = true;
    if (lost()) return;
    if (random.one_in(10)) {
      arrived_ = wire::Keepalive{};
    } else if (at_ < server_.oldest_) {
      gap_ = true;
    } else if (at_ < end_of()) {
      const auto to = std::min(end_of(), at_ + random.any_size(kLargest));
      wal_ = server_.bytes(timeline_, at_, to);
      arrived_ = wire::XLogData{.start = at_, .server_end = end_of(), .wal = wal_};
      at_ = to;
    } else {
      arrived_ = pq::EndOfStream{pq::EndOfStream::Next{timeline_ + 1, end_of()}};
    }
  }
  pq::StreamEvent next(std::span<std::byte>) override {
    if (arrived_) return *std::exchange(arrived_, std::nullopt);
    std::fill(wal_.begin(), wal_.end(), std::byte{0xDD});
    if (lost()) throw Error(ErrorKind::retry, "server closed the connection unexpectedly");
    if (gap_)
      throw Error(ErrorKind::gap, "requested WAL segment has already been removed")
          .with_sqlstate("58P01");
    return pq::NothingYet{};
  }
  void keep_last() override { throw server_.refuse("to keep WAL"); }
  void send(const wire::StandbyStatus&) override { throw server_.refuse("a position"); }
  void send(const wire::HotStandbyFeedback&) override { throw server_.refuse("an xmin"); }
  bool flush() override { return true; }
  void finish(std::chrono::milliseconds timeout) override {
    const auto until = server_.story_.now + timeout;
    server_.take_time(stop_);
    if (server_.story_.now > until || lost())
      throw Error(ErrorKind::retry, "the server did not end the stream in time");
    end();
  }
  void let_go() override {}
  void gather(std::size_t) override {}
  int socket() const override { return fd_; }
  short ready(short events) override {
    const bool some = at_ < end_of() || timeline_ < server_.timeline_;
    return lost() || (some && server_.story_.now >= again_) ? static_cast<short>(events & POLLIN)
                                                            : short{0};
  }

 private:
  static constexpr std::uint64_t kLargest = 16 * 1024;

  [[nodiscard]] bool lost() const { return lost_ || !server_.up_ || starts_ != server_.starts_; }
  [[nodiscard]] Lsn end_of() const { return server_.end_of(timeline_); }
  void sends_again() {
    auto& random = server_.random_;
    const bool slow = !server_.calm_ && random.one_in(30);
    again_ = server_.story_.now + std::chrono::milliseconds(random.any_size(slow ? 60'000 : 2) - 1);
  }
  void end() {
    if (!std::exchange(ended_, true)) --server_.streams_;
  }

  SimReference& server_;
  const wal::TimelineId timeline_;
  Lsn at_;
  const std::uint64_t starts_;
  const net::Wake& stop_;
  SimMachine& machine_;
  const int fd_;
  std::optional<pq::StreamEvent> arrived_;
  std::vector<std::byte> wal_;
  receive::Time again_{};
  bool lost_ = false;
  bool gap_ = false;
  bool ended_ = false;
};

class SimReference::ReferenceServer final : public receive::Server {
 public:
  ReferenceServer(SimReference& server, const net::Wake& stop)
      : server_(server), starts_(server.starts_), stop_(stop) {}

  std::string name() const override { return "reference"; }
  pq::SystemIdentity identify_system() override {
    asked();
    return {.system_identifier = kSystem,
            .timeline = server_.timeline_,
            .flush_position = server_.flush_};
  }
  wal::SegmentSize wal_segment_size() override {
    asked();
    return kSegment;
  }
  std::unique_ptr<receive::WalStream> question(Lsn start, wal::TimelineId timeline) override {
    asked();
    const auto refused = [](const char* text) {
      return Error(ErrorKind::retry, text).with_sqlstate("XX000");
    };
    if (timeline > server_.timeline_)
      throw refused("requested timeline is not in this server's history");
    if (start > server_.end_of(timeline))
      throw timeline == server_.timeline_
          ? refused("requested starting point is ahead of the WAL flush position")
          : refused("requested starting point is not in this server's history");
    return std::make_unique<Stream>(server_, start, timeline, stop_);
  }

  std::size_t host_index() const override { return 0; }
  std::size_t host_count() const override { return 1; }
  int major() const override { return server_.lineage_.server_major(); }
  std::string version() const override { return std::to_string(major()); }
  std::optional<bool> in_hot_standby() const override { return std::nullopt; }
  std::optional<bool> ask_for_role() override { return std::nullopt; }
  void interrupted_by(const net::Wake&) override { throw server_.refuse("who stops"); }
  std::chrono::milliseconds wal_sender_timeout() override { return 60s; }
  unsigned file_mode() override { return 0600; }
  bool create_physical_slot(const std::string&) override { throw server_.refuse("a slot"); }
  void drop_slot(const std::string&) override { throw server_.refuse("a slot"); }
  bool use_slot(const std::string&, Lsn, wal::TimelineId, std::optional<Lsn>) override {
    throw server_.refuse("a slot");
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string&) override {
    throw server_.refuse("a slot");
  }
  std::string timeline_history(wal::TimelineId) override { throw server_.refuse("a history"); }
  std::unique_ptr<receive::WalStream> start(const std::optional<std::string>&, Lsn,
                                            wal::TimelineId) override {
    throw server_.refuse("a stream that reports positions");
  }
  std::function<bool()> shutdown_probe() const override {
    throw server_.refuse("whether it shuts down");
  }

 private:
  void asked() {
    server_.take_time(stop_);
    if (!server_.up_ || starts_ != server_.starts_)
      throw Error(ErrorKind::retry, "server closed the connection unexpectedly");
  }

  SimReference& server_;
  const std::uint64_t starts_;
  const net::Wake& stop_;
};

SimReference::SimReference(const Lineage& lineage, std::uint64_t seed, Scheduler& scheduler,
                           Story& story)
    : lineage_(lineage),
      random_(seed),
      scheduler_(scheduler),
      story_(story),
      flush_(lineage.start()),
      oldest_(lineage.start()) {
  if (random_.one_in(6) && lineage.other_branch()) {
    other_ = &lineage.other_branch()->wal(random_.coin());
    story_.tell("the reference server follows another branch from {} on",
                lineage.other_branch()->fork);
  } else if (random_.one_in(3)) {
    bit_ = static_cast<unsigned>(random_.below(8));
    for (int tries = 0; tries < 20 && !spot_; ++tries) {
      spot_timeline_ = static_cast<wal::TimelineId>(random_.between(1, lineage.newest()));
      const auto& timeline = lineage.timeline(spot_timeline_);
      const bool last = spot_timeline_ == lineage.newest();
      const auto from = std::max(timeline.begin, lineage.start());
      const auto to = last ? timeline.received : timeline.switchpoint;
      if (from < to) spot_ = lineage.spot(spot_timeline_, from, to, random_);
    }
    if (spot_)
      story_.tell("the reference server has a wrong bit of timeline {} at {}", spot_timeline_,
                  spot_->byte);
  }
}

void SimReference::tick(bool calm) {
  calm_ = calm;
  if (calm) {
    up_ = true;
    timeline_ = lineage_.newest();
    const auto& last = lineage_.timeline(timeline_);
    flush_ = other_ != nullptr ? last.received + 2 * kSegmentBytes : last.received;
    return;
  }
  if (random_.one_in(up_ ? 300 : 60)) {
    up_ = !up_;
    ++starts_;
    story_.tell("the reference server is {}", up_ ? "up" : "down");
  }
  if (random_.one_in(10)) {
    const auto& timeline = lineage_.timeline(timeline_);
    const bool last = timeline_ == lineage_.newest();
    const auto end = last ? timeline.received : timeline.switchpoint;
    if (flush_ < end) {
      flush_ = std::min(end, flush_ + random_.any_size(kSegmentBytes));
      flush_ = std::min(end, Lsn((flush_.byte() + 7) / 8 * 8));
    } else if (!last) {
      ++timeline_;
      story_.tell("the reference server is on timeline {}", timeline_);
    }
  }
  if (random_.one_in(500)) {
    oldest_ = std::max(oldest_, kSegment.start_of(oldest_ + random_.below(flush_ - oldest_ + 1)));
    story_.tell("the reference server removes its WAL before {}", oldest_);
  }
}

Lsn SimReference::end_of(wal::TimelineId timeline) const {
  return timeline < timeline_ ? lineage_.timeline(timeline).switchpoint : flush_;
}

std::optional<Lineage::Spot> SimReference::wrong(wal::TimelineId timeline) const {
  if (spot_ && timeline >= spot_timeline_) return spot_;
  if (other_ == nullptr || timeline < lineage_.newest()) return std::nullopt;
  const auto fork = lineage_.other_branch()->fork;
  const auto end = lineage_.timeline(timeline).received;
  const auto byte = lineage_.first_wrong(timeline, fork, bytes(timeline, fork, end));
  if (!byte) return std::nullopt;
  return Lineage::Spot{*byte, fork, lineage_.record_end(timeline, *byte)};
}

std::vector<std::byte> SimReference::bytes(wal::TimelineId timeline, Lsn from, Lsn to) const {
  const auto start = lineage_.start();
  const auto all = other_ != nullptr && timeline == lineage_.newest()
                       ? other_->bytes().subspan(from - start, to - from)
                       : lineage_.bytes(timeline, from, to);
  std::vector<std::byte> bytes(all.begin(), all.end());
  if (spot_ && timeline >= spot_timeline_ && spot_->byte >= from && spot_->byte < to)
    bytes[spot_->byte - from] ^= std::byte{1} << bit_;
  return bytes;
}

/// It takes its time to answer, now and then a long one.
void SimReference::take_time(const net::Wake& stop) {
  scheduler_.pause();
  if (!calm_ && random_.one_in(12)) {
    const auto until = story_.now + std::chrono::milliseconds(random_.any_size(12'000));
    while (!stop.raised() && story_.now < until)
      scheduler_.sleep_until(std::min<receive::Time>(until, story_.now + 200ms));
  }
  if (stop.raised()) throw net::Interrupted{};
}

Error SimReference::refuse(const char* what) {
  complaint_ =
      Violation{"P13", fmt::format("the reference server is told, or asked for, {}", what)};
  return {ErrorKind::protocol, complaint_->what};
}

std::unique_ptr<receive::Server> SimReference::connect(const receive::Options&, std::size_t,
                                                       std::function<void(const std::string&)>,
                                                       const net::Wake& stop) {
  take_time(stop);
  if (!up_) throw Error(ErrorKind::retry, "connection refused");
  return std::make_unique<ReferenceServer>(*this, stop);
}
std::unique_ptr<receive::Server> SimReference::connect_to(const receive::Options&, std::size_t,
                                                          std::function<void(const std::string&)>,
                                                          const net::Wake&) {
  throw refuse("a host");
}
std::unique_ptr<receive::Server> SimReference::visit(const receive::Options&, const receive::Visit&,
                                                     const net::Wake&) {
  throw refuse("a visit");
}
receive::SlotReading SimReference::read_slot_view(const std::string&, const std::string&,
                                                  const std::string&, const net::Wake&) {
  throw refuse("a slot");
}

}  // namespace weir::sim
