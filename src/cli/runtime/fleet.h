#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/options/web_options.h"
#include "http/server.h"
#include "store/http/transport.h"
#include "web/entrance.h"
#include "web/fleet.h"
#include "web/fleet_file.h"
#include "web/look.h"
#include "web/site.h"
#include "web/watch.h"

namespace weir::cli {

/// An archive of a fleet, queried periodically by a thread of its own, which may hang.
class FleetArchive {
 public:
  /// `transport` is for one that has a URL; else it may be nullptr. Throws Error{usage} for a token
  /// file that will not do.
  FleetArchive(web::FleetMember member, std::shared_ptr<store::Transport> transport,
               const status::Limits& limits);
  FleetArchive(const FleetArchive&) = delete;
  FleetArchive& operator=(const FleetArchive&) = delete;

  [[nodiscard]] const std::string& name() const { return member_.name; }
  [[nodiscard]] web::FleetRow row() const;
  /// Answer for its own page, which an archive on another host serves there.
  [[nodiscard]] http::Server::Reply answer(const http::Request& request);
  /// Rereads its token file. An error is logged, and the old token remains in use. Any thread.
  void reload(Log& log);

 private:
  struct Known {
    web::Look look;  ///< of one on this machine
    web::FleetState state;
    web::FleetSince::Moment since;
    std::chrono::system_clock::time_point at;
  };
  class Local;
  class Remote;
  [[nodiscard]] web::Watch<Known>::Hooks hooks() const;
  [[nodiscard]] std::optional<web::Facts> facts();

  const web::FleetMember member_;
  const status::Limits limits_;
  const std::shared_ptr<Local> local_;    ///< nullptr: it is on another machine
  const std::shared_ptr<Remote> remote_;  ///< nullptr: it is on this one
  web::Watch<Known> watch_;
  web::Site site_;
};

/// The page of many archives: the table at /, each archive of this machine at /archive/NAME/.
class Fleet {
 public:
  /// `limits` apply to archives on this machine. `ca` is the file of those that name none; nullopt:
  /// the system's certificates.
  /// Throws Error{usage} for a token file or a file of certificates that will not do, or where a
  /// URL is named and the module for HTTP is missing.
  Fleet(std::vector<web::FleetMember> members, web::Gate gate, const status::Limits& limits,
        const std::optional<std::string>& ca, Log& log);

  [[nodiscard]] http::Server::Reply answer(const http::Request& request);
  /// Rereads all token files, its own as named in `request`, and those of the archives. Any thread.
  void reload(const WebRequest& request, Log& log);

 private:
  /// Aborts the queries in progress.
  class End {
   public:
    End() = default;
    ~End() { *over_ = true; }
    End(const End&) = delete;
    End& operator=(const End&) = delete;
    [[nodiscard]] std::function<bool()> is_over() const {
      return [over = over_] { return over->load(); };
    }

   private:
    const std::shared_ptr<std::atomic<bool>> over_ = std::make_shared<std::atomic<bool>>(false);
  };

  [[nodiscard]] http::Answer table(const http::Request& request);

  web::Entrance entrance_;
  std::vector<std::unique_ptr<FleetArchive>> archives_;
  const End end_{};  ///< after the archives: it is destroyed first, and they wait for their queries
};

}  // namespace weir::cli
