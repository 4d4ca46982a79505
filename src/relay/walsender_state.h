#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "relay/command.h"
#include "relay/outgoing.h"
#include "relay/served.h"
#include "relay/slot_questions.h"
#include "relay/xmins.h"
#include "wal/lsn.h"
#include "wire/backend_messages.h"
#include "wire/client_messages.h"
#include "wire/copy_messages.h"

namespace weir::relay {

/// The session of an authenticated client: a walsender's answers, and the stream with its positions
/// (replication/walsender.c, and PostgresMain() in tcop/postgres.c). Pure: bytes and facts in,
/// bytes and the next step out; no I/O, no clock. The memory that a client can occupy is bounded.
///
/// One WAL stream follows one timeline. It ends where the served history leaves that timeline; the
/// client then requests the next one.
class WalsenderState {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Now {
    Time time;
    std::int64_t clock = 0;  ///< microseconds since 2000-01-01 UTC, as messages carry it
  };
  struct Options {
    Cluster cluster;
    std::string application_name;
    /// wal_sender_timeout: a client that sends nothing for this time is disconnected; after half of
    /// it, a reply is requested.
    std::chrono::milliseconds timeout{60'000};
    /// Maximum wait for a start slightly after the end of the served WAL: that of a base backup
    /// taken upstream a moment ago.
    std::chrono::milliseconds ahead_wait{5'000};
    bool held_back = false;    ///< gets no WAL after Served::hold
    bool has_backups = false;  ///< base backups are available
  };

  explicit WalsenderState(Options options) : options_(std::move(options)) {}

  /// Sends the first messages to an authenticated client. `process` must differ from all other
  /// current sessions: clients form slot names from it.
  void greet(const std::string& user, std::uint32_t process, std::uint32_t secret);

  /// Adds bytes read from the connection.
  void on_bytes(std::span<const std::byte> bytes);
  /// False: input is not processed yet, and no more must be read.
  [[nodiscard]] bool takes_bytes() const { return input_.size() < kMostInput; }
  /// To be sent, and removed by the sender. WAL is requested when it is empty.
  [[nodiscard]] Outgoing& output() { return output_; }

  struct Wait {
    std::optional<Time> until;  ///< or for bytes, for room to send, for a further end
  };
  struct ReadHistory {
    wal::TimelineId timeline = 0;
  };
  /// Bytes from `from` on, before `limit`: as many as are available; zero bytes are an answer, too.
  struct ReadWal {
    wal::Lsn from;
    wal::Lsn limit;
  };
  /// A question about the slots, which all sessions share.
  struct AskSlots {
    SlotQuestion question;
  };
  /// This BASE_BACKUP must be requested. on_backup_begun(), then its answer, whole messages, is
  /// appended to output(), then on_backup_end().
  struct BeginBackup {
    std::string command;
  };
  /// To be closed once output() is sent.
  struct Leave {
    std::string why;
  };
  using Step = std::variant<Wait, ReadHistory, ReadWal, AskSlots, BeginBackup, Leave>;
  [[nodiscard]] Step next(const Served& served, Now now);

  /// A notification for the slots, which comes before any request to them.
  enum class SlotErrand {
    nothing,
    release,   ///< the stream has ended
    clean_up,  ///< the client met an error: its temporary slots go, too (WalSndErrorCleanup())
  };
  [[nodiscard]] SlotErrand take_slot_errand() {
    return std::exchange(slot_errand_, SlotErrand::nothing);
  }

  /// Answers of AskSlots.
  void on_slots(const SlotAnswer& answer, const Served& served, Now now);
  /// Cancels its current command (CancelRequest).
  void cancel();
  /// The slot in use was lost: the client is disconnected, as by InvalidatePossiblyObsoleteSlot().
  void evict();
  /// Answers of ReadHistory; nullopt: the archive does not have that file.
  void on_history(const std::optional<std::string>& content);
  /// Answers of ReadWal.
  void on_wal(WalPiece piece, Now now);
  /// The WAL there cannot be sent: the stream ends with this.
  void on_no_wal(const wire::ErrorReport& report);

  /// BeginBackup is done.
  void on_backup_begun();
  enum class BackupEnd {
    done,
    failed,  ///< its last message is an error
    fatal,   ///< and the server closed the connection
  };
  void on_backup_end(BackupEnd end);
  /// There is none, or no more of it.
  void on_no_backup(const wire::ErrorReport& report);

  /// The process is stopping: the client gets a walsender's message, or the reason. Then Leave
  /// follows.
  void stop(const std::optional<wire::ErrorReport>& why = std::nullopt);

  enum class Phase { startup, backup, catchup, streaming };
  struct Status {
    Phase phase = Phase::startup;
    wal::TimelineId timeline = 0;
    wal::Lsn sent;
    wal::Lsn write;
    wal::Lsn flush;
    wal::Lsn apply;
    std::uint64_t replies = 0;    ///< that reported it
    Xmins xmins;                  ///< from hot_standby_feedback; of the session, across its streams
    std::uint64_t feedbacks = 0;  ///< that reported it
    std::optional<std::string> slot;
    bool operator==(const Status&) const = default;
  };
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  static constexpr std::size_t kMostInput = std::size_t{64} << 10;

  enum class Doing {
    commands,
    history,  ///< ReadHistory must be answered
    slots,    ///< AskSlots must be answered
    busy,     ///< the slot to be dropped is in use: the request is repeated
    backup,   ///< BeginBackup must be done
    backing_up,
    ahead,  ///< its start is after the end of the served WAL
    stream,
  };

  void work_off(const Served& served, Now now);
  void take_command(const wire::ClientMessage& message, const Served& served, Now now);
  void take_in_stream(const wire::ClientMessage& message, Now now);
  Step next_of_stream(const Served& served, Now now);
  std::optional<Time> next_ping(Now now);

  void run(const command::IdentifySystem& command, const Served& served, Now now);
  void run(const command::Show& command, const Served& served, Now now);
  void run(const command::TimelineHistory& command, const Served& served, Now now);
  void run(const command::ReadSlot& command, const Served& served, Now now);
  void run(const command::CreateSlot& command, const Served& served, Now now);
  void run(const command::DropSlot& command, const Served& served, Now now);
  void run(const command::StartReplication& command, const Served& served, Now now);
  void run(const command::StartLogical& command, const Served& served, Now now);
  void run(const command::BaseBackup& command, const Served& served, Now now);
  void run(const command::Sql& command, const Served& served, Now now);

  void ask_slots(SlotQuestion question);
  void start(const command::StartReplication& command, const Served& served, Now now);
  void answer_read(const SlotAnswer& answer, const Served& served);
  void begin_stream(Now now);
  void end_stream();
  void become_historic(const Served& served);
  void complete(std::string_view tag);
  void row(std::span<const wire::Column> columns,
           std::span<const std::optional<std::string>> values);
  void fail(const wire::ErrorReport& report);
  void fail_for_good(const wire::ErrorReport& report);
  void leave(std::string why);

  const Options options_;
  Status status_;
  std::string input_;
  Outgoing output_;
  std::optional<std::string> leaving_;
  bool skip_to_sync_ = false;  ///< after an error in the extended protocol

  Doing doing_ = Doing::commands;
  wal::TimelineId asked_history_ = 0;
  SlotQuestion question_;               ///< that AskSlots has
  bool waits_for_slot_ = false;         ///< DROP_REPLICATION_SLOT … WAIT
  Time ask_again_{};                    ///< while busy
  std::string backup_;                  ///< the command that BeginBackup has
  command::StartReplication to_start_;  ///< once its slot is ours
  bool makes_slot_ = false;             ///< that slot is created once it can start
  SlotErrand slot_errand_ = SlotErrand::nothing;
  std::optional<wal::Lsn> valid_until_;  ///< of a timeline that was left: its switchpoint
  wal::TimelineId next_timeline_ = 0;    ///< then
  bool copying_ = false;                 ///< between CopyBothResponse and the last CopyDone
  bool done_sending_ = false;
  bool done_receiving_ = false;
  std::optional<wal::Lsn> dry_at_;  ///< nothing more could be read before this limit
  wal::Lsn limit_;                  ///< of the pending ReadWal
  Time ahead_until_{};
  Time heard_{};
  Time read_since_{};       ///< when ReadWal was returned
  bool asked_ = false;      ///< since heard_
  bool reply_due_ = false;  ///< the client requests a reply
};

[[nodiscard]] std::string_view to_string(WalsenderState::Phase phase);

}  // namespace weir::relay
