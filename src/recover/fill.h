#pragma once

#include <string>
#include <vector>

#include "recover/choose.h"
#include "recover/options.h"
#include "recover/places.h"
#include "recover/report.h"
#include "recovery/programs.h"

namespace weir::recover {

/// The directory below the data directory for unfinished work: above all pg_control, without which
/// no server starts.
inline constexpr const char* kWork = ".pgweir-recover";

/// Copies the backup into the directory and its tablespaces into their places: copied, unpacked or
/// combined, compared with the manifest, cleaned, with its settings and modes. Existing files are
/// an earlier call's, and are removed first; in a tablespace's place, only if it has the mark. Only
/// global/pg_control is missing then. Throws Error{damage, conflict} for an invalid backup
/// (report.state stays incomplete), Error{io, disk_full, retry}.
void fill(const Choice& choice, const std::vector<Place>& places,
          const recovery::Programs& programs, const std::string& restore_command,
          const Options& options, Report& report);

/// The settings of this recovery, in place of those of an earlier call.
void write_settings(const recovery::Promise& promise, wal::TimelineId timeline,
                    const recovery::Programs& programs, const recovery::Control& control,
                    const std::string& restore_command, const Options& options, Report& report);

/// Flushes all of it to disk. Throws Error{durability}.
void make_durable(const std::vector<Place>& places, const Options& options);

/// Renames pg_control into place, durably: from here on a server can be started. Everything else
/// must be durable. Then removes what only showed that the directories are being filled.
void finish(const std::vector<Place>& places, const Options& options, const Report& report);

}  // namespace weir::recover
