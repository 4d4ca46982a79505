#pragma once

#include <functional>
#include <optional>

#include "archive/durable_end.h"
#include "base/error.h"
#include "io/directory.h"
#include "ledger.h"
#include "lineage.h"
#include "mutant.h"
#include "restore/options.h"
#include "story.h"

namespace weir::sim {

/// A server that recovers from the archive along the newest timeline, with the real restore as its
/// restore_command. It asks as PostgreSQL does (findNewestTimeLine() in access/transam/timeline.c,
/// XLogFileReadAnyTLI() in access/transam/xlogrecovery.c): for each segment every timeline of its
/// history from the newest down, and where none has it, recovery is at its end.
class Recovery {
 public:
  struct Result {
    wal::Lsn end;                ///< of what was restored
    wal::Lsn at;                 ///< segment that was asked for last
    std::optional<Error> error;  ///< restore's exit status was above 125
  };

  Recovery(const Lineage& lineage, Story& story, Mutant mutant)
      : lineage_(lineage), story_(story), mutant_(mutant) {}

  /// Throws Violation{P9} if what is handed out is not what the cluster wrote. `partial`: with
  /// --partial; the end is then that of the WAL in the last one.
  /// `ask_receiver`: the one that is at work there, as restore asks it; empty: none is.
  using AskReceiver = std::function<std::optional<archive::DurableEnd>()>;
  [[nodiscard]] Result run(io::Directory& archive, const Ledger::Way& way, bool partial,
                           const AskReceiver& ask_receiver = nullptr) {
    io::Shelf* const only = &archive;
    return run(restore::Shelves(&only, 1), way, partial, ask_receiver);
  }
  /// `archives`: with a second home (Options::store), as the last one, if there are two.
  [[nodiscard]] Result run(restore::Shelves archives, const Ledger::Way& way, bool partial,
                           const AskReceiver& ask_receiver = nullptr);

 private:
  const Lineage& lineage_;
  Story& story_;
  const Mutant mutant_;
};

}  // namespace weir::sim
