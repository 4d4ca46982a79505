#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/seldom_log.h"
#include "io/shelf.h"
#include "relay/base_backup.h"
#include "relay/cancels.h"
#include "relay/clients.h"
#include "relay/connection.h"
#include "relay/hub.h"
#include "relay/shared_wal.h"
#include "relay/slots.h"
#include "relay/walsender_state.h"

namespace weir::relay {

/// An authenticated client.
struct Client {
  std::string user;
  std::string application_name;
  std::string address;
  std::string unread{};       ///< bytes after the last message of the authentication
  std::string greeting{};     ///< of the authentication, not sent yet
  std::uint32_t process = 0;  ///< a number that no other session has
  std::uint32_t secret = 0;
  std::optional<archive::ConnectionSsl> ssl{};  ///< nullopt: it is not encrypted
};

/// Objects shared by all sessions. Not owned; all of them must outlive the sessions.
struct ServedThings {
  io::Shelf& archive;
  const Cluster& cluster;
  SharedWal& wal;
  Hub& hub;
  Slots& slots;
  Clients& clients;
  Log& log;
  SeldomLog& trouble;
  BackupSource* backups = nullptr;  ///< nullptr: base backups are not available
  Cancels* cancels = nullptr;       ///< nullptr: sessions cannot be canceled
};

/// Serves one client: executes WalsenderState's steps on the thread that calls run(). It waits for
/// this client alone, and no other session waits for it.
class Walsender {
 public:
  Walsender(Client client, Connection& connection, const ServedThings& served);
  Walsender(const Walsender&) = delete;
  Walsender& operator=(const Walsender&) = delete;

  /// Runs until the client disconnects, or the hub stops. Does not throw any std::exception.
  void run();

 private:
  std::string serve();
  enum class Moved { nothing, something, gone };
  Moved exchange();
  void wait(std::optional<WalsenderState::Time> until);
  void read_wal(const WalsenderState::ReadWal& step, const Served& served);
  void send_history(wal::TimelineId timeline, const Served& served);
  void tell_stream(const Served& served);
  void tell_slots();
  void begin_backup(const WalsenderState::BeginBackup& step);
  void carry_backup();
  [[nodiscard]] std::string name() const;

  Client client_;
  Connection& connection_;
  io::Shelf& archive_;
  const Cluster cluster_;
  Hub& hub_;
  Slots& slots_;
  Log& log_;
  SeldomLog& trouble_;
  BackupSource* const backups_;
  Hub::Guest waked_;
  std::atomic<bool> cancelled_ = false;
  std::optional<Cancels::Session> cancel_key_;
  WalsenderState state_;
  Clients::Guest place_;
  WalsenderState::Status told_status_;
  SharedWal::Reader reader_;
  std::unique_ptr<BaseBackup> backup_;  ///< for the client
  bool has_slot_ = false;
  wal::Lsn told_flush_;               ///< to the slot
  std::uint64_t told_feedbacks_ = 0;  ///< likewise
  std::uint64_t slot_feedbacks_ = 0;  ///< the last one passed to a slot
  WalsenderState::Phase told_ = WalsenderState::Phase::startup;
};

}  // namespace weir::relay
