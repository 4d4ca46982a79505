#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/wake.h"
#include "receive/choose_host.h"
#include "receive/machine.h"
#include "receive/options.h"
#include "receive/questions.h"
#include "receive/server.h"

namespace weir::receive {

/// Queries hosts of the connection string at once, each in a thread and over a connection of its
/// own: its identity, its timeline history, and whether it still has the next WAL. Changes nothing
/// on the hosts or in the archive. Belongs to one thread.
class HostSurvey {
 public:
  /// Dependencies; all must outlive the survey.
  struct World {
    Servers& servers;
    Machine& machine;
    const Options& options;
    std::function<void(const std::string&)> notice = {};  ///< of any host; any thread
  };
  HostSurvey(const World& world, std::optional<ArchivedSoFar> archive);
  /// Aborts unanswered queries.
  ~HostSurvey();
  HostSurvey(const HostSurvey&) = delete;
  HostSurvey& operator=(const HostSurvey&) = delete;

  /// Queries those hosts, by their index and name, and waits until all have answered; once a
  /// suitable host has, one more second for the others and two in total; and no longer than a
  /// connection may take. Hosts that have not answered by then have a failure that reports this.
  /// Called once. Throws net::Interrupted when `stop` is raised.
  [[nodiscard]] std::vector<HostWord> ask(const std::vector<std::pair<int, std::string>>& hosts,
                                          const net::Wake& stop);
  /// The connection to a host that has answered, whose waits `stop` ends from now on; nullptr if
  /// there is none, or if it is not usable any more.
  [[nodiscard]] std::unique_ptr<Server> take(int host, const net::Wake& stop);

 private:
  struct Asked;
  void ask_one(Asked& asked);
  std::unique_ptr<Server> connect(const HostWord& word);
  void question(std::unique_ptr<Server>& server, HostWord& word);
  void read_first_wal(std::unique_ptr<Server>& server, HostWord& word);
  template <typename Answer>
  auto ask_wal(std::unique_ptr<Server>& server, const HostWord& word, Answer answer);
  void break_off();

  const World world_;
  const std::optional<ArchivedSoFar> archive_;
  net::Wake over_;  ///< ends the waits of the threads
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<WakeUp> answered_;
  std::vector<std::unique_ptr<Asked>> asked_;
};

}  // namespace weir::receive
