#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "io/directory.h"
#include "receive/feed.h"
#include "receive/mailbox.h"
#include "relay/archive_look.h"
#include "relay/clients.h"
#include "relay/hub.h"
#include "relay/shared_wal.h"
#include "relay/slots.h"
#include "relay/walsender.h"
#include "scheduler.h"
#include "sim_standby.h"
#include "story.h"

namespace weir::sim {

/// Serving in the process of a receiver, as `receive --serve` does it: the relay's own walsenders,
/// slots, hub and look at the archive, in threads of the simulation. What Serving, Downstream and
/// Server do with sockets (src/cli, relay/server.h) is done here for standbys that are simulated.
/// To be kept until Scheduler::end() has ended its threads.
class SimRelay {
 public:
  SimRelay(std::unique_ptr<io::Directory> archive, receive::Feed& feed,
           receive::Downstream& downstream, std::vector<std::unique_ptr<SimStandby>>& standbys,
           Scheduler& scheduler, Ledger& ledger, Random& random, Story& story);
  ~SimRelay();

  /// Connections that standbys have made are served. Called while no thread runs.
  void tick(bool quiet);

 private:
  class StandbyConnection;

  void serve();
  void look_until_the_end();
  void on_durable(const receive::event::DurableEnd& end);

  const std::unique_ptr<io::Directory> archive_;
  receive::Downstream& downstream_;
  std::vector<std::unique_ptr<SimStandby>>& standbys_;
  Scheduler& scheduler_;
  Ledger& ledger_;
  Random& random_;
  Story& story_;
  SeldomLog trouble_;
  relay::Clients clients_;
  std::optional<relay::Cluster> cluster_;
  std::optional<relay::SharedWal> wal_;
  std::optional<relay::Hub> hub_;
  std::optional<relay::Slots> slots_;
  bool serves_ = false;
  std::optional<archive::DurableEnd> durable_;
  bool news_ = false;
  std::uint32_t processes_ = 0;
  receive::Feed::Subscription listening_;
};

}  // namespace weir::sim
