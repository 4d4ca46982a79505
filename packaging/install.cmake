# What is installed, and where: component `runtime` is the program and what belongs to it,
# component `dev` the library for other programs. scripts/package makes Debian packages of it.
#
# Packaging (`packaging/`): `install.cmake` alone defines what is installed; the Debian packages
# are built from it. Those for arm64 are cross-built with libraries that are only unpacked
# (`scripts/sysroot`), with a separate dpkg database, so dependencies come from arm64's packages
# and nothing foreign is installed. Completions query the program (`--help`) on completion, so
# there is no second list of options. `tests/integration/test_manual.py` compares manual pages with
# `--help`, `test_docs.py` follows the chapters of `docs/`, and each message that requires manual
# intervention is looked up in `docs/troubleshooting.md`.
include(CMakePackageConfigHelpers)

# -- runtime ----------------------------------------------------------------------------------

install(TARGETS pgweir RUNTIME COMPONENT runtime)
if(TARGET pgweir_metrics)  # where src/metrics/exporter.cc looks for it
  install(TARGETS pgweir_metrics LIBRARY DESTINATION lib/pgweir COMPONENT runtime)
endif()

if(TARGET pgweir_store)  # where src/store/http/curl_transport.cc looks for it; a package of its own
  install(TARGETS pgweir_store LIBRARY DESTINATION lib/pgweir COMPONENT runtime)
endif()

file(GLOB manual_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.[1-8])
foreach(page ${manual_pages})
  string(REGEX MATCH "[1-8]$" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT runtime)
endforeach()

# Under the names of PostgreSQL's programs it stands in for, in a directory of its own that goes
# first into a PATH or becomes Barman's path_prefix. Which names these are, the program knows.
file(STRINGS ${PROJECT_SOURCE_DIR}/packaging/stand-ins stand_ins REGEX "^[a-z]")
set(PGWEIR_STANDIN_DIR "lib/pgweir/bin")
file(RELATIVE_PATH standin_target "/prefix/${PGWEIR_STANDIN_DIR}"
     "/prefix/${CMAKE_INSTALL_BINDIR}/pgweir")
foreach(name ${stand_ins})
  set(link ${CMAKE_CURRENT_BINARY_DIR}/stand-ins/${name})
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/stand-ins)
  file(CREATE_LINK ${standin_target} ${link} SYMBOLIC)
  install(FILES ${link} DESTINATION ${PGWEIR_STANDIN_DIR} COMPONENT runtime)
endforeach()

install(FILES packaging/completions/pgweir.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME pgweir
        COMPONENT runtime)
install(FILES packaging/completions/_pgweir DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
        COMPONENT runtime)

# The units name the program where it is installed, which is known when it is.
foreach(unit pgweir@.service pgweir-verify@.service pgweir-prune@.service pgweir-drill@.service
             pgweir-backup@.service)
  install(CODE "
    set(PGWEIR_PROGRAM \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/pgweir\")
    configure_file(\"${PROJECT_SOURCE_DIR}/packaging/systemd/${unit}.in\"
                   \"${CMAKE_CURRENT_BINARY_DIR}/systemd/${unit}\" @ONLY)"
    COMPONENT runtime)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/systemd/${unit}
          DESTINATION lib/systemd/system COMPONENT runtime)
endforeach()
install(FILES packaging/systemd/pgweir-verify@.timer packaging/systemd/pgweir-prune@.timer
              packaging/systemd/pgweir-drill@.timer packaging/systemd/pgweir-backup@.timer
        DESTINATION lib/systemd/system COMPONENT runtime)
install(FILES packaging/systemd/pgweir.sysusers DESTINATION lib/sysusers.d
        RENAME pgweir.conf COMPONENT runtime)
install(FILES packaging/example.ini DESTINATION ${CMAKE_INSTALL_SYSCONFDIR}/pgweir
        COMPONENT runtime)

# -- dev --------------------------------------------------------------------------------------

install(TARGETS libpgweir EXPORT pgweirTargets ARCHIVE COMPONENT dev)
set_target_properties(libpgweir PROPERTIES EXPORT_NAME pgweir)
if(IS_DIRECTORY ${PROJECT_SOURCE_DIR}/include/pgweir)
  install(DIRECTORY include/pgweir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
          FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
endif()
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pgweir)
install(EXPORT pgweirTargets NAMESPACE pgweir:: DESTINATION ${config_dir} COMPONENT dev)
configure_package_config_file(packaging/cmake/pgweirConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/cmake/pgweirConfig.cmake INSTALL_DESTINATION ${config_dir})
# All 1.x releases keep the public headers (docs/compatibility.md).
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/cmake/pgweirConfigVersion.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cmake/pgweirConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/cmake/pgweirConfigVersion.cmake
        DESTINATION ${config_dir} COMPONENT dev)

# pgweir.pc finds its prefix by its own place, so that an unpacked package works anywhere.
file(RELATIVE_PATH PGWEIR_PC_TO_PREFIX "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
configure_file(packaging/cmake/pgweir.pc.in cmake/pgweir.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cmake/pgweir.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
