#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/branch.h"
#include "archive/identity.h"
#include "archive/resume.h"
#include "io/place.h"
#include "pq/client_secrets.h"
#include "pq/slot_view.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::doctor {

/// What went wrong in a test, in words.
struct Trouble {
  std::string text;
  std::vector<std::string> todo{};  ///< sentences, SQL, lines of a configuration
};

/// Facts reported by a server. Unset fields could not be determined; `unseen` says why.
struct ServerFacts {
  std::optional<Trouble> replication_trouble;  ///< unset: a replication connection works
  std::optional<Trouble> plain_trouble;        ///< unset: an ordinary connection works
  std::string server;
  std::string user;
  int version = 0;  ///< 150018; 0: not connected
  std::optional<std::uint64_t> system_identifier;
  wal::TimelineId timeline = 0;
  wal::Lsn position;
  std::optional<wal::TimelineHistory> history;  ///< of its timeline
  /// As SHOW prints them: "1GB", "5min", "on", "-1".
  std::map<std::string, std::string, std::less<>> settings;
  std::vector<std::string> pending_restart;  ///< those with another value in the files
  std::optional<bool> superuser;
  std::optional<bool> standby;
  std::optional<int> senders;        ///< active walsenders, without our own
  std::optional<int> slots;          ///< replication slots of any kind
  std::vector<std::string> plugins;  ///< output plugins of the logical slots, each once
  struct Slot {
    pq::SlotView view;
    std::string type;
    bool temporary = false;
    std::optional<wal::Lsn> restart_lsn;
  };
  std::optional<Slot> slot;                ///< set if a slot was named and could be read
  std::optional<double> wal_rate;          ///< bytes a second, while it was measured
  std::optional<double> wal_rate_average;  ///< since its statistics were reset
  std::optional<std::chrono::milliseconds> clock_ahead;  ///< relative to our clock; negative:
                                                         ///< behind
  std::chrono::milliseconds clock_error{};               ///< half the time the question took
  struct Archiver {
    std::int64_t failed = 0;
    bool failing = false;  ///< the last attempt failed
    std::string last_failed;
  };
  std::optional<Archiver> archiver;
  /// Expiry of the certificates of the server, and of the files used for the connection.
  struct Certificates {
    std::optional<std::chrono::sys_seconds> server_expires{};  ///< unset: no TLS, or not known
    pq::SecretsLook own{};
    std::chrono::system_clock::time_point now{};
  };
  Certificates certificates{};
  std::optional<bool> standby_receives;  ///< a standby's walreceiver is connected
  std::vector<std::string> unseen;

  [[nodiscard]] std::optional<std::string> setting(std::string_view name) const;
  /// In bytes; nullopt also for -1.
  [[nodiscard]] std::optional<std::uint64_t> size(std::string_view name) const;
  [[nodiscard]] std::optional<std::chrono::milliseconds> time(std::string_view name) const;
  [[nodiscard]] std::optional<int> number(std::string_view name) const;
};

/// Facts about the archive's directory.
struct ArchiveFacts {
  std::string path;
  std::optional<Trouble> trouble;  ///< it cannot be used at all
  io::Place place;
  bool server_directory = false;  ///< it is a server's own
  bool in_use = false;            ///< a receiver has its lock
  struct SyncTimes {
    std::size_t count = 0;
    std::chrono::microseconds median{};
    std::chrono::microseconds longest{};
  };
  std::optional<SyncTimes> syncs;
  std::optional<Trouble> write_trouble;
  std::optional<archive::Identity> identity;  ///< unset: the archive is empty, or `content_trouble`
  /// Its newest WAL is of a newer PostgreSQL than this program knows: the magic of its pages.
  std::optional<std::uint16_t> newer_magic;
  std::optional<archive::ResumePoint> end;
  archive::Timelines timelines;
  archive::TimelineEnds timeline_ends;
  std::optional<Trouble> content_trouble;
};

/// --prefer
enum class PreferredRole { any, primary, standby };

/// What the receiver is going to do.
struct Plan {
  std::optional<std::string> slot;
  std::string application_name = "pgweir";
  std::chrono::milliseconds status_interval{10'000};
  std::size_t hosts = 1;           ///< of the connection string
  bool slot_on_all_hosts = false;  ///< --slot-hosts all
  PreferredRole prefer = PreferredRole::any;
  bool confirm_stored = false;  ///< --confirm stored
};

}  // namespace weir::doctor
