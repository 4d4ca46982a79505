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

/// Hosts of the connection string asked at once, each in a thread of its own and over a connection
/// of its own: who it is, how its history came about, and whether it still has the WAL that comes
/// next. Nothing is changed on any of them, and nothing in the archive. Belongs to one thread.
class HostSurvey {
 public:
  /// What is needed of the surroundings; all of it outlives the survey.
  struct World {
    Servers& servers;
    Machine& machine;
    const Options& options;
    std::function<void(const std::string&)> notice = {};  ///< of any host; any thread
  };
  HostSurvey(const World& world, std::optional<ArchivedSoFar> archive);
  /// Breaks off what has not answered.
  ~HostSurvey();
  HostSurvey(const HostSurvey&) = delete;
  HostSurvey& operator=(const HostSurvey&) = delete;

  /// Asks those hosts, by their index and name, and waits: until all have answered; once one that
  /// would do has, a second longer for the others and two in all; and no longer than a connection
  /// may take. What has not answered by then has a failure that says so. Called once. Throws
  /// net::Interrupted when `stop` is raised.
  [[nodiscard]] std::vector<HostWord> ask(const std::vector<std::pair<int, std::string>>& hosts,
                                          const net::Wake& stop);
  /// The connection over which that host has answered, for whom `stop` ends its waits from now on;
  /// nullptr if it has not, or if that connection is of no more use.
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
  net::Wake over_;  ///< ends the waits of those who ask
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<WakeUp> answered_;
  std::vector<std::unique_ptr<Asked>> asked_;
};

}  // namespace weir::receive
