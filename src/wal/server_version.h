#pragma once

namespace weir::wal {

/// A major version of PostgreSQL, and its servers' features. No other code compares version
/// numbers, except for the format of WAL itself: page.h has the magics and the known versions,
/// record_verifier.cc the limits of records. scripts/check-includes enforces this.
class ServerVersion {
 public:
  constexpr explicit ServerVersion(int major) : major_(major) {}
  /// `number` as in PQserverVersion() and server_version_num: 150018.
  [[nodiscard]] static constexpr ServerVersion of_number(int number) {
    return ServerVersion(number / 10000);
  }
  [[nodiscard]] constexpr int major() const { return major_; }

  /// in_hot_standby is reported at the start of a connection.
  [[nodiscard]] constexpr bool reports_in_hot_standby() const { return major_ >= 14; }
  /// The view pg_stat_wal.
  [[nodiscard]] constexpr bool has_wal_statistics() const { return major_ >= 14; }
  /// READ_REPLICATION_SLOT.
  [[nodiscard]] constexpr bool has_read_replication_slot() const { return major_ >= 15; }
  /// Options of CREATE_REPLICATION_SLOT in parentheses, in place of keywords.
  [[nodiscard]] constexpr bool has_slot_options_in_parentheses() const { return major_ >= 15; }
  /// Options of BASE_BACKUP in parentheses, in place of keywords.
  [[nodiscard]] constexpr bool has_backup_options_in_parentheses() const { return major_ >= 15; }
  /// pg_basebackup compresses with a method that is named, and not with gzip alone.
  [[nodiscard]] constexpr bool has_named_compression() const { return major_ >= 15; }
  /// The setting recovery_prefetch.
  [[nodiscard]] constexpr bool has_recovery_prefetch() const { return major_ >= 15; }
  /// The setting archive_library.
  [[nodiscard]] constexpr bool has_archive_library() const { return major_ >= 15; }
  /// The setting promote_trigger_file.
  [[nodiscard]] constexpr bool has_promote_trigger_file() const { return major_ < 16; }
  /// pg_combinebackup, and the incremental backups that it requires.
  [[nodiscard]] constexpr bool has_combine_backup() const { return major_ >= 17; }
  /// The manifest of a backup has the system identifier. pg_verifybackup therefore reads
  /// pg_control, whose layout it knows for its own version only: with another one, it says that the
  /// CRC is incorrect.
  [[nodiscard]] constexpr bool has_identifier_in_manifest() const { return major_ >= 17; }
  /// pg_verifybackup reads tar files.
  [[nodiscard]] constexpr bool verifies_tar_backups() const { return major_ >= 18; }
  /// TWO_PHASE of a logical slot is an option of the function that creates it, but not of the
  /// command.
  [[nodiscard]] constexpr bool has_two_phase_in_sql_only() const { return major_ == 14; }
  /// The column "timeline" of IDENTIFY_SYSTEM is an int8. Before, it was an int4.
  [[nodiscard]] constexpr bool has_wide_timeline() const { return major_ >= 16; }
  /// A standby can decode WAL: its logical slots can be streamed from.
  [[nodiscard]] constexpr bool decodes_on_standbys() const { return major_ >= 16; }
  /// A standby copies failover slots from its primary: the column synced of pg_replication_slots.
  [[nodiscard]] constexpr bool synchronizes_slots() const { return major_ >= 17; }
  /// The column invalidation_reason of pg_replication_slots.
  [[nodiscard]] constexpr bool has_invalidation_reason() const { return major_ >= 17; }
  /// The setting synchronized_standby_slots.
  [[nodiscard]] constexpr bool has_synchronized_standby_slots() const { return major_ >= 17; }
  /// The setting event_triggers.
  [[nodiscard]] constexpr bool has_event_triggers_setting() const { return major_ >= 17; }
  /// The setting idle_replication_slot_timeout.
  [[nodiscard]] constexpr bool has_idle_slot_timeout() const { return major_ >= 18; }
  /// START_REPLICATION with an invalidated physical slot fails. Before, it succeeds, and the first
  /// status report gives the slot a restart_lsn again, although it stays invalidated
  /// (ReplicationSlotAcquire() in replication/slot.c, PhysicalConfirmReceivedLocation() in
  /// replication/walsender.c).
  [[nodiscard]] constexpr bool refuses_invalidated_physical_slots() const { return major_ >= 18; }
  /// An invalidated slot stays invalidated until it is dropped (enum
  /// ReplicationSlotInvalidationCause in replication/slot.h). Before, it is valid again as soon as
  /// it has a restart_lsn.
  [[nodiscard]] constexpr bool keeps_slots_invalidated() const { return major_ >= 16; }
  /// The setting max_active_replication_origins. Before, max_replication_slots counted.
  [[nodiscard]] constexpr bool has_own_limit_of_origins() const { return major_ >= 18; }
  /// The first logical slot raises effective_wal_level, and dropping the last one lowers it.
  [[nodiscard]] constexpr bool has_effective_wal_level() const { return major_ >= 19; }
  /// The setting output_plugin_libraries. Minor releases since August 2026 of earlier versions have
  /// it, too.
  [[nodiscard]] constexpr bool has_output_plugin_libraries() const { return major_ >= 19; }

  /// The first versions with these options of a logical slot.
  static constexpr int kFirstWithTwoPhase =
      15;  ///< of CREATE_REPLICATION_SLOT; of its function, 14
  static constexpr int kFirstWithFailover = 17;

  /// CheckPoint (catalog/pg_control.h) has logicalDecodingEnabled and wider multixact offsets.
  [[nodiscard]] constexpr bool has_wide_checkpoint() const { return major_ >= 19; }

  /// The newest protocol version of pgoutput.
  [[nodiscard]] constexpr int pgoutput_protocol() const {
    return major_ >= 16 ? 4 : major_ == 15 ? 3 : major_ == 14 ? 2 : 1;
  }

 private:
  int major_;
};

}  // namespace weir::wal
