#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <variant>

#include "base/text.h"
#include "pq/conninfo.h"
#include "pq/parameters.h"
#include "pq/ping.h"
#include "pq/slot_view.h"
#include "receive/server.h"

namespace weir::receive {

namespace {

/// The server ends a stream as soon as it has read our end.
constexpr std::chrono::seconds kSlotPatience(5);

class PqStream final : public WalStream {
 public:
  explicit PqStream(pq::ReplicationStream stream) : stream_(std::move(stream)) {}
  void receive() override { stream_.receive(); }
  pq::StreamEvent next(std::span<std::byte> place) override { return stream_.next(place); }
  void keep_last() override { stream_.keep_last(); }
  void send(const wire::StandbyStatus& status) override { stream_.send(status); }
  void send(const wire::HotStandbyFeedback& feedback) override { stream_.send(feedback); }
  bool flush() override { return stream_.flush(); }
  void finish(std::chrono::milliseconds timeout) override { stream_.finish(timeout); }
  void let_go() override { stream_.let_go(); }
  void gather(std::size_t bytes) override { stream_.gather(bytes); }
  int socket() const override { return stream_.socket(); }

 private:
  pq::ReplicationStream stream_;
};

class PqServer final : public Server {
 public:
  explicit PqServer(pq::Connection connection) : connection_(std::move(connection)) {}

  std::string name() const override { return connection_.server_name(); }
  std::size_t host_index() const override { return connection_.host_index(); }
  std::size_t host_count() const override { return connection_.host_count(); }
  int major() const override { return connection_.server_major(); }
  std::string version() const override {
    return connection_.parameter("server_version").value_or("");
  }
  std::optional<std::chrono::sys_seconds> certificate_expires() const override {
    return connection_.server_certificate_expires();
  }
  std::optional<bool> in_hot_standby() const override {
    const auto standby = connection_.parameter("in_hot_standby");
    return standby ? std::optional(*standby == "on") : std::nullopt;
  }
  /// Before 14 a transaction of a standby is read-only, and on a primary only by its default
  /// (StartTransaction() in xact.c).
  std::optional<bool> ask_for_role() override { return pq::show_if_standby(connection_); }
  std::optional<SynchronousNames> synchronous_names() override {
    if (pq::show_if_standby(connection_) == true) return std::nullopt;
    return SynchronousNames{pq::show(connection_, "synchronous_standby_names"),
                            pq::show(connection_, "application_name")};
  }
  std::string cluster_name() override {
    constexpr std::string_view kUndefinedObject = "42704";
    try {
      return pq::show(connection_, "cluster_name");
    } catch (const Error& error) {
      if (error.sqlstate() == kUndefinedObject) return {};
      throw;
    }
  }
  void interrupted_by(const net::Wake& stop) override { connection_.interrupted_by(stop); }
  pq::SystemIdentity identify_system() override { return pq::identify_system(connection_); }
  wal::SegmentSize wal_segment_size() override { return pq::show_wal_segment_size(connection_); }
  std::chrono::milliseconds wal_sender_timeout() override {
    return pq::show_wal_sender_timeout(connection_);
  }
  unsigned file_mode() override { return pq::show_file_mode(connection_); }
  bool create_physical_slot(const std::string& slot) override {
    return pq::create_physical_slot(connection_, slot);
  }
  void drop_slot(const std::string& slot) override { pq::drop_slot(connection_, slot); }
  bool use_slot(const std::string& slot, wal::Lsn position, wal::TimelineId timeline,
                std::optional<wal::Lsn> flush) override {
    auto stream = pq::ReplicationStream::start(connection_, slot, position, timeline,
                                               connection_.interrupt());
    // An earlier stream may have left an xmin in the slot, and the server would retain rows for it.
    stream.send(wire::HotStandbyFeedback{});
    if (flush)
      stream.send(wire::StandbyStatus{
          .write = *flush, .flush = *flush, .apply = {}, .reply_requested = false});
    stream.finish(kSlotPatience);
    // At the end of a timeline the server may not read a status.
    const auto end = stream.next();
    const auto* ended = std::get_if<pq::EndOfStream>(&end);
    return ended != nullptr && !ended->next;
  }
  std::optional<pq::SlotState> read_replication_slot(const std::string& slot) override {
    return pq::read_replication_slot(connection_, slot);
  }
  std::string setting_of_unseen_invalidation() override {
    return pq::setting_of_unseen_invalidation(connection_);
  }
  std::string timeline_history(wal::TimelineId timeline) override {
    return pq::timeline_history(connection_, timeline);
  }
  std::unique_ptr<WalStream> start(const std::optional<std::string>& slot, wal::Lsn start,
                                   wal::TimelineId timeline) override {
    return std::make_unique<PqStream>(
        pq::ReplicationStream::start(connection_, slot, start, timeline, connection_.interrupt()));
  }
  std::unique_ptr<WalStream> question(wal::Lsn start, wal::TimelineId timeline) override {
    return this->start(std::nullopt, start, timeline);
  }
  std::function<bool()> shutdown_probe() const override {
    return [probe = pq::ShutdownProbe(connection_)] { return probe.server_shuts_down(); };
  }

 private:
  pq::Connection connection_;
};

class PqServers final : public Servers {
 public:
  HostList hosts(const Options& options) override {
    const auto values = pq::expand_conninfo(options.conninfo);
    HostList list;
    for (const auto& host : pq::hosts_of(values)) list.names.push_back(host.to_string());
    list.prefers_standby = pq::value_of(values, "target_session_attrs") == "prefer-standby";
    list.shuffled = pq::value_of(values, "load_balance_hosts") == "random";
    return list;
  }

  std::unique_ptr<Server> connect_to(const Options& options, std::size_t host,
                                     std::function<void(const std::string&)> notice,
                                     const net::Wake& stop) override {
    return std::make_unique<PqServer>(
        pq::Connection::open({.conninfo = options.conninfo,
                              .fallback_application_name = options.fallback_application_name,
                              .first_host = host,
                              .only_first_host = true,
                              .notice = std::move(notice)},
                             stop));
  }

  std::unique_ptr<Server> connect(const Options& options, std::size_t first_host,
                                  std::function<void(const std::string&)> notice,
                                  const net::Wake& stop) override {
    return std::make_unique<PqServer>(
        pq::Connection::open({.conninfo = options.conninfo,
                              .fallback_application_name = options.fallback_application_name,
                              .first_host = first_host,
                              .notice = std::move(notice)},
                             stop));
  }

  std::unique_ptr<Server> visit(const Options& options, const Visit& visit,
                                const net::Wake& stop) override {
    return std::make_unique<PqServer>(
        pq::Connection::open({.conninfo = options.conninfo,
                              .timeout = visit.timeout,
                              .first_host = visit.host,
                              .only_first_host = true,
                              .any_role = true,
                              .application_name = visit.application_name},
                             stop));
  }

  std::function<pq::SecretsLook()> secrets(const Options& options) override {
    auto files = pq::secret_files(pq::expand_conninfo(options.conninfo));
    if (files.empty()) return {};
    return [files = std::move(files)] { return pq::look_at_secrets(files); };
  }

  SlotReading read_slot_view(const std::string& conninfo, const std::string& server,
                             const std::string& slot, const net::Wake& stop) override {
    const auto host = pq::find_host(conninfo, server);
    auto connection = pq::Connection::open({.conninfo = conninfo,
                                            .replication = pq::Replication::none,
                                            .fallback_application_name = "pgweir monitor",
                                            .first_host = host.value_or(0),
                                            .only_first_host = host.has_value(),
                                            .any_role = host.has_value()},
                                           stop);
    SlotReading reading{.view = {}, .server_major = connection.server_major()};
    // (A standby without primary_conninfo has received nothing, and replays from an archive. With
    // it, there is a position even if no connection succeeds: RequestXLogStreaming() in
    // walreceiverfuncs.c.)
    const auto rows = connection.execute(fmt::format(
        "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN "
        "pg_catalog.current_setting('synchronous_standby_names') END, "
        "CASE WHEN pg_catalog.pg_is_in_recovery() AND NOT {} AND "
        "pg_catalog.pg_last_wal_receive_lsn() IS NOT NULL THEN "
        "greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) END",
        pq::kReceivesSql));
    reading.synchronous_names = rows.at(0)[0];
    reading.cut_off_at = rows[0][1];
    if (auto found = pq::find_slot(connection, slot)) reading.view = std::move(found->view);
    return reading;
  }

  pq::SlotView check_slot(const Options& options, const Visit& visit, const std::string& slot,
                          const net::Wake& stop) override {
    auto connection = pq::Connection::open({.conninfo = options.conninfo,
                                            .replication = pq::Replication::none,
                                            .timeout = visit.timeout,
                                            .first_host = visit.host,
                                            .only_first_host = true,
                                            .any_role = true,
                                            .application_name = visit.application_name},
                                           stop);
    auto found = pq::find_slot(connection, slot, visit.timeout);
    return found ? std::move(found->view) : pq::SlotView{};
  }
};

}  // namespace

Servers& pq_servers() {
  static PqServers servers;
  return servers;
}

}  // namespace weir::receive
