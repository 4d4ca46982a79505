#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "receive/server.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::test {

/// What a server has that is asked for WAL and nothing else.
struct Other {
  std::vector<std::byte> wal;  ///< from `begin` on
  wal::Lsn begin;
  wal::Lsn oldest;  ///< what lies before it was removed
  pq::SystemIdentity identity;
  wal::SegmentSize size = *wal::SegmentSize::of(1 << 20);
  std::optional<pq::EndOfStream::Next> left{};  ///< where timeline 1 was left
  bool ends_streams = true;                     ///< false: it goes on sending, over a slow line
};

class OtherStream final : public receive::WalStream {
 public:
  OtherStream(const Other& other, wal::Lsn at, bool ends) : other_(other), at_(at), ends_(ends) {}
  void receive() override {}
  pq::StreamEvent next(std::span<std::byte>) override {
    if (at_ < other_.oldest)
      throw Error(ErrorKind::gap, "requested WAL segment has already been removed");
    const auto end = ends_ ? other_.left->switchpoint : other_.begin + other_.wal.size();
    if (at_ >= end && ends_) return pq::EndOfStream{other_.left};
    const auto from = at_;
    at_ = std::min(end, at_ + std::uint64_t{128} * 1024);
    return wire::XLogData{from, end, 0,
                          std::span(other_.wal).subspan(from - other_.begin, at_ - from)};
  }
  void keep_last() override {}
  void send(const wire::StandbyStatus&) override {}
  void send(const wire::HotStandbyFeedback&) override {}
  bool flush() override { return true; }
  void finish(std::chrono::milliseconds) override {
    if (!other_.ends_streams)
      throw Error(ErrorKind::retry, "the server did not end the stream in time");
  }
  void let_go() override {}
  void gather(std::size_t) override {}
  int socket() const override { return -1; }

 private:
  const Other& other_;
  wal::Lsn at_;
  const bool ends_;
};

class OtherServer final : public receive::Server {
 public:
  explicit OtherServer(const Other& other) : other_(other) {}
  std::string name() const override { return "other"; }
  pq::SystemIdentity identify_system() override { return other_.identity; }
  wal::SegmentSize wal_segment_size() override { return other_.size; }
  std::unique_ptr<receive::WalStream> question(wal::Lsn start, wal::TimelineId timeline) override {
    return std::make_unique<OtherStream>(other_, start, other_.left && timeline == 1);
  }

  // The rest is not asked for.
  std::size_t host_index() const override { return 0; }
  std::size_t host_count() const override { return 1; }
  int major() const override { return 18; }
  std::string version() const override { return "18"; }
  std::optional<bool> in_hot_standby() const override { return std::nullopt; }
  std::optional<bool> ask_for_role() override { return std::nullopt; }
  void interrupted_by(const net::Wake&) override {}
  std::chrono::milliseconds wal_sender_timeout() override { return std::chrono::seconds(60); }
  unsigned file_mode() override { return 0600; }
  bool create_physical_slot(const std::string&) override { throw std::logic_error("a slot"); }
  void drop_slot(const std::string&) override { throw std::logic_error("a slot"); }
  bool use_slot(const std::string&, wal::Lsn, wal::TimelineId, std::optional<wal::Lsn>) override {
    throw std::logic_error("a slot");
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string&) override {
    return std::nullopt;
  }
  std::string timeline_history(wal::TimelineId) override { throw std::logic_error("a history"); }
  std::unique_ptr<receive::WalStream> start(const std::optional<std::string>&, wal::Lsn,
                                            wal::TimelineId) override {
    throw std::logic_error("a stream that reports positions");
  }
  std::function<bool()> shutdown_probe() const override {
    return [] { return false; };
  }

 private:
  const Other& other_;
};

class OtherServers final : public receive::Servers {
 public:
  explicit OtherServers(const Other& other) : other_(other) {}
  receive::HostList hosts(const receive::Options&) override { return {{"other"}}; }
  std::unique_ptr<receive::Server> connect_to(const receive::Options&, std::size_t,
                                              std::function<void(const std::string&)>,
                                              const net::Wake&) override {
    return std::make_unique<OtherServer>(other_);
  }
  std::unique_ptr<receive::Server> connect(const receive::Options&, std::size_t,
                                           std::function<void(const std::string&)>,
                                           const net::Wake&) override {
    return std::make_unique<OtherServer>(other_);
  }
  std::unique_ptr<receive::Server> visit(const receive::Options&, const receive::Visit&,
                                         const net::Wake&) override {
    return std::make_unique<OtherServer>(other_);
  }
  receive::SlotReading read_slot_view(const std::string&, const std::string&, const std::string&,
                                      const net::Wake&) override {
    throw std::logic_error("a slot");
  }

 private:
  const Other& other_;
};

}  // namespace weir::test
